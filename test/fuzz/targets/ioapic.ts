import { IOAPIC_PINS, IoApic } from "../../../src/devices/ioapic.ts";
import { createEventFd } from "../../../src/host/eventfd.ts";
import { block } from "../../unit/devices/access.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { playRegisters } from "../support/registers.ts";

export const target: FuzzTarget = {
  what: "the I/O APIC: registers and edges",
  maxBytes: 512,
  open: () => {
    const pins = Array.from({ length: IOAPIC_PINS }, (_, gsi) => ({ gsi, eventFd: createEventFd() }));
    const router = {
      route: (gsi: number, lo: number, hi: number, data: number): void => {
        // 11.11 of the SDM: an MSI goes to FEEx_xxxx.
        if (lo >>> 20 !== 0xfee || data > 0xffff || hi !== hi >>> 0)
          throw new Error(`GSI ${gsi} to ${hi}:${lo} ${data}`);
      },
      unroute: (): void => undefined,
    };
    const ioapic = new IoApic(block(IoApic.blockSize), pins, router);
    const lines = pins.map((_, pin) => ioapic.line(pin));
    const registers = [{ device: ioapic, length: 0x20, widest: 8, places: [0, 0x10] }] as const;
    return (input) => playRegisters(input, registers, [ioapic], () => lines[input.below(IOAPIC_PINS)]?.pulse());
  },
};
