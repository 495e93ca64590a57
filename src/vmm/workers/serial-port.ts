import { nullSink } from "../../devices/byte-sink.ts";
import type { Chardev } from "../../devices/chardev/chardev.ts";
import { IoApic } from "../../devices/ioapic.ts";
import { Serial } from "../../devices/serial.ts";
import { SerialInput } from "../../devices/serial-input.ts";
import { signalEventFd } from "../../host/eventfd.ts";
import { GsiRouting } from "../../hypervisor/kvm/gsi-routing.ts";
import type { MachineWiring } from "../../machine/x86_64/machine-wiring.ts";
import { GSI } from "../../machine/x86_64/platform.ts";
import { blockAt } from "../../threads/block-ref.ts";

/** Feeds a machine's serial port, which it must have, from the host's end. */
export function serialInput({ platform, vmFd, routing }: MachineWiring, chardev: Chardev): SerialInput {
  const { serial, ioapic } = platform;
  if (serial === undefined) throw new Error("there is no serial port to feed");
  const router = new GsiRouting(vmFd, blockAt(routing));
  const line = new IoApic(blockAt(ioapic.block), ioapic.pins, router).line(GSI.serial);
  const port = new Serial(blockAt(serial.block), nullSink, line, () => signalEventFd(serial.wakeFd));
  return new SerialInput(chardev, port);
}
