import type { Gpa } from "../../memory/address.ts";

/** The run of `length` bytes from guest physical `base`. */
export interface GpaRange {
  readonly base: Gpa;
  readonly length: number;
}

/** A PCI function. */
export interface PciAddress {
  readonly segment: number;
  readonly bus: number;
  readonly device: number;
  readonly function: number;
}

/** Bus, device and function in 16 bits (PCI Local Bus 3.0 section 3.2.2.3.2: bus 15:8, device 7:3, function 2:0). */
export const busDeviceFunction = ({ bus, device, function: fn }: PciAddress): number => (bus << 8) | (device << 3) | fn;

/** Slots of the one bus of a PCI segment. */
export const PCI_SLOTS = 32;

/** A PCI segment: one bus of 32 slots behind a host bridge of its own. Its number is its index among the segments. */
export interface PciSegment {
  /** Configuration space of bus 0 (1 MiB). */
  readonly ecamBase: Gpa;
  /** Memory below 4 GiB for BARs; left out of the host bridge's resources when it is empty. */
  readonly mmio32: GpaRange;
  /** Memory above 4 GiB for BARs; left out likewise. */
  readonly mmio64: GpaRange;
}

/** Bytes of configuration space of one bus: 32 devices of 8 functions of 4 KiB. */
export const ECAM_BYTES_PER_BUS = 0x10_0000;
