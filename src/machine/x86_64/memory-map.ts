import { type Gpa, gpa } from "../../memory/address.ts";
import { HIGH_RAM, LOW_RAM_MAP_END, PCI_ECAM, PCI_MMIO32, RAM_ABOVE_HOLE, RAM_HOLE } from "./layout.ts";
import { type RamRun, ramRuns } from "./ram-placement.ts";

/** Address range types (ACPI 6.4 section 15, "System Address Map Interfaces"), which PVH uses as well. */
export const MemoryType = { RAM: 1, RESERVED: 2 } as const;

/** A range of guest addresses and what the guest is told of it. */
export interface MemoryMapEntry {
  readonly gpa: Gpa;
  readonly size: number;
  readonly type: (typeof MemoryType)[keyof typeof MemoryType];
}

const LOW_RAM: MemoryMapEntry = { gpa: gpa(0), size: LOW_RAM_MAP_END, type: MemoryType.RAM };
const ECAM: MemoryMapEntry = { gpa: PCI_ECAM.base, size: PCI_ECAM.length, type: MemoryType.RESERVED };

const ram = (start: Gpa, end: number): MemoryMapEntry => ({ gpa: start, size: end - start, type: MemoryType.RAM });

/**
 * The memory map of a PVH boot: every run of boot RAM.
 * @param pieces of boot RAM, ascending; the first run starts at 0 and reaches above 1 MiB
 */
export function pvhMemoryMap(pieces: readonly RamRun[]): MemoryMapEntry[] {
  const [first, ...others] = ramRuns(pieces);
  return [
    LOW_RAM,
    ram(HIGH_RAM, first?.size ?? HIGH_RAM),
    ...others.map(({ gpa, size }) => ram(gpa, gpa + size)),
    ECAM,
  ];
}

/**
 * The memory map of the Linux boot protocol, which follows from where boot RAM ends.
 * @param ramEnd above 1 MiB
 */
export function e820MemoryMap(ramEnd: Gpa): MemoryMapEntry[] {
  const map = [LOW_RAM, ram(HIGH_RAM, Math.min(ramEnd, RAM_HOLE))];
  if (ramEnd > RAM_ABOVE_HOLE) map.push(ram(RAM_ABOVE_HOLE, ramEnd));
  map.push(ECAM);
  return map;
}

/** Where processors start, below 4 GiB: firmware's. */
const RESET_VECTOR: MemoryMapEntry = { gpa: gpa(0xfffe_0000), size: 0x2_0000, type: MemoryType.RESERVED };

/** The memory map that firmware finds in fw_cfg. Conditions as for `e820MemoryMap`. */
export function fwCfgMemoryMap(ramEnd: Gpa): MemoryMapEntry[] {
  const devices: MemoryMapEntry = { gpa: PCI_MMIO32.base, size: PCI_MMIO32.length, type: MemoryType.RESERVED };
  const [, ...rest] = e820MemoryMap(ramEnd);
  return [LOW_RAM, devices, ECAM, RESET_VECTOR, ...rest.filter((entry) => entry !== ECAM)];
}
