/** A run of addresses: `length` bytes from `base`. */
export interface AddressRange {
  readonly base: number;
  readonly length: number;
}

/** Whether two runs have an address in common. */
export const overlap = (a: AddressRange, b: AddressRange): boolean =>
  a.base < b.base + b.length && b.base < a.base + a.length;

/** What address space a base address register decodes and how wide it is (PCI 3.0, 6.2.5.1). */
export type BarKind = "memory32" | "memory64";

/** A base address register as a function is built with it. */
export interface BarLayout {
  /** 0 to 5; a 64-bit one takes the next register as well. */
  readonly index: number;
  readonly kind: BarKind;
  /** Bytes: a power of two, at least 16. */
  readonly size: number;
  readonly prefetchable?: boolean;
  /** Where it is mapped at power-on, a multiple of its size. */
  readonly address: number;
}

/** A base address register of a function that is there. */
export interface Bar extends BarLayout {
  /** Where its accesses are decoded now. Changes under the lock of the segment only. */
  readonly mapped: number;
  /** Maps it elsewhere, with what follows it. For the segment, which has seen to it that the range is free. */
  remap(address: number): void;
}

/** Whoever grants new addresses to BARs: the segment. */
export interface BarMover {
  /** Whether `bar` could be at `address` if nothing else were there. */
  allows(bar: BarLayout, address: number): boolean;
  /**
   * Maps `bar` at `address` when that is allowed.
   * @returns whether it was; otherwise nothing has changed
   */
  move(bar: Bar, address: number): boolean;
  /** BARs were mapped elsewhere other than by `move`. */
  remapped(): void;
}
