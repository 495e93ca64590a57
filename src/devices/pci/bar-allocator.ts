import type { AddressRange } from "./bar.ts";

/** An aperture has no room. */
export class BarSpaceError extends Error {
  override readonly name = "BarSpaceError";
}

/** Hands out addresses of an aperture from its end downwards, first fit. Used by the thread that builds the machine. */
export class BarAllocator {
  readonly #aperture: AddressRange;
  /** What is taken, highest address first. */
  readonly #taken: AddressRange[] = [];

  constructor(aperture: AddressRange) {
    this.#aperture = aperture;
  }

  /**
   * The highest free range.
   * @param size bytes
   * @param align of the start, in bytes
   * @returns its first address
   * @throws BarSpaceError
   */
  allocate(size: number, align: number): number {
    const { base, length } = this.#aperture;
    let start = alignDown(base + length - size, align);
    for (const taken of this.#taken)
      if (start < taken.base + taken.length && taken.base < start + size) start = alignDown(taken.base - size, align);
    if (start < base)
      throw new BarSpaceError(
        `no room for ${size} bytes in the PCI aperture of ${length} bytes at 0x${base.toString(16)}: use fewer devices or more PCI segments`,
      );
    this.reserve({ base: start, length: size });
    return start;
  }

  /** Withholds a range, which may lie anywhere. */
  reserve(range: AddressRange): void {
    const at = this.#taken.findIndex(({ base }) => base < range.base);
    this.#taken.splice(at < 0 ? this.#taken.length : at, 0, range);
  }

  /** Gives the range that starts at `base` back. */
  free(base: number): void {
    const at = this.#taken.findIndex((range) => range.base === base);
    if (at >= 0) this.#taken.splice(at, 1);
  }
}

const alignDown = (value: number, align: number): number => Math.floor(value / align) * align;
