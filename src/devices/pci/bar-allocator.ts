import { type AddressRange, overlap } from "./bar.ts";

/** An aperture has no room. */
export class BarSpaceError extends Error {
  override readonly name = "BarSpaceError";
}

/** Hands out addresses of an aperture first fit. Used by the thread that builds the machine. */
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
      if (overlap({ base: start, length: size }, taken)) start = alignDown(taken.base - size, align);
    return this.#take(start, size);
  }

  /** The lowest free range, for memory that the guest should find near its RAM. As `allocate` otherwise. */
  allocateLow(size: number, align: number): number {
    let start = alignUp(this.#aperture.base, align);
    for (const taken of this.#taken.toReversed())
      if (overlap({ base: start, length: size }, taken)) start = alignUp(taken.base + taken.length, align);
    return this.#take(start, size);
  }

  /** @throws BarSpaceError when the range does not lie in the aperture */
  #take(start: number, size: number): number {
    const { base, length } = this.#aperture;
    if (start < base || start + size > base + length)
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

const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;
const alignDown = (value: number, align: number): number => Math.floor(value / align) * align;
