import type { BusAccess, BusDevice } from "../bus.ts";
import type { PciSegment } from "./segment.ts";

/** Bytes of one segment's window: one bus. */
export const ECAM_BYTES = 0x10_0000;

/**
 * Configuration space in memory (PCI Express 5.0, 7.2.2): bits 19:15 of the offset are the slot, 11:0 the register. The
 * function number in bits 14:12 is not looked at. Accesses must lie within a dword.
 */
export class Ecam implements BusDevice {
  readonly #segment: PciSegment;

  constructor(segment: PciSegment) {
    this.#segment = segment;
  }

  read(access: BusAccess): void {
    const { offset, size } = access;
    const fn = this.#segment.at((offset >>> 15) & 0x1f);
    if (fn !== undefined && (offset & 3) + size <= 4) access.lo = fn.readConfig(offset & 0xfff, size);
  }

  write(access: BusAccess): void {
    const { offset, size } = access;
    const fn = this.#segment.at((offset >>> 15) & 0x1f);
    if (fn !== undefined && (offset & 3) + size <= 4) fn.writeConfig(offset & 0xfff, size, access.lo);
  }
}
