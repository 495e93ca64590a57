import type { IoLoop } from "../../devices/io-loop.ts";
import { ignoreNotices } from "../../devices/notices.ts";
import { SerialInput } from "../../devices/serial-input.ts";
import { MachineDevices } from "../../machine/x86_64/machine-devices.ts";
import type { MachineWiring } from "../../machine/x86_64/machine-wiring.ts";
import { log } from "../../threads/log.ts";
import { PendingRequest } from "../vcpu-loop.ts";

/** Has the loop feed the machine's serial port, if it has one, from a descriptor. @throws SysError */
export function addSerialInput(loop: IoLoop, machine: MachineWiring, fd: number): void {
  const services = { machine: new PendingRequest(), notify: ignoreNotices, log: log.info };
  const { serial } = new MachineDevices(machine, services).platform;
  if (serial !== undefined) loop.add(new SerialInput(loop, fd, serial));
}
