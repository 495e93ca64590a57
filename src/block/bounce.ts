import { libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapAnonymous, munmap } from "../host/mmap.ts";

/** Requests larger than this are not bounced: a guest could make the host hold as much memory as it likes. */
export const MAX_BOUNCE_BYTES = 1 << 20;

/** A page-aligned copy of a request's data, for direct I/O on memory that is not aligned. */
export class Bounce {
  readonly #segments: Uint32Array;
  readonly #memory: MemoryBlock;

  /**
   * @param segments the request's struct iovec as 32-bit words
   * @param length the sum of their lengths, at most `MAX_BOUNCE_BYTES`
   * @throws SysError
   */
  constructor(segments: Uint32Array, length: number) {
    this.#segments = segments;
    this.#memory = mapAnonymous(length);
  }

  get address(): number {
    return this.#memory.address;
  }

  /** Fills the copy from the segments. */
  copyIn(): void {
    this.#copy(true);
  }

  /** Fills the segments from the copy. */
  copyOut(): void {
    this.#copy(false);
  }

  close(): void {
    munmap(this.#memory.address, this.#memory.size);
  }

  #copy(into: boolean): void {
    let at = this.#memory.address;
    const words = this.#segments;
    for (let i = 0; i < words.length; i += 4) {
      const address = (words[i] ?? 0) + (words[i + 1] ?? 0) * 0x1_0000_0000;
      const length = words[i + 2] ?? 0;
      if (into) libc.memcpy(at, address, length);
      else libc.memcpy(address, at, length);
      at += length;
    }
  }
}
