import { check, libc } from "../host/libc.ts";
import { MemoryBlock } from "../host/memory-block.ts";
import { Madvise, mapAnonymous, munmap, PAGE_SIZE } from "../host/mmap.ts";

/** Blocks start on cache lines of their own, so that threads working on different devices do not share one. */
const ALIGNMENT = 64;

/**
 * The memory that all threads of the process share: device state blocks, locks and thread controls live here. The main
 * thread allocates before the threads that use a block learn its address; pages cost nothing until touched.
 */
export class SharedArena {
  readonly #memory: MemoryBlock;
  #used = 0;

  /** @param size bytes of address space, the limit of what can be allocated */
  constructor(size: number) {
    this.#memory = mapAnonymous(size);
  }

  /**
   * A zeroed block.
   * @param size bytes
   * @throws RangeError when the arena is full
   */
  allocate(size: number): MemoryBlock {
    const offset = this.#used;
    const end = offset + Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    if (end > this.#memory.size)
      throw new RangeError(`shared arena of ${this.#memory.size} bytes cannot hold ${size} more after ${offset}`);
    this.#used = end;
    return new MemoryBlock(this.#memory.address + offset, size);
  }

  /** Takes back every block, zeroed. No thread may still use one. @throws SysError */
  reset(): void {
    const pages = Math.ceil(this.#used / PAGE_SIZE) * PAGE_SIZE;
    if (pages > 0) check(libc.madvise(this.#memory.address, pages, Madvise.DONTNEED), "empty the shared arena");
    this.#used = 0;
  }

  /** Returns the address space. No thread may still use a block. @throws SysError */
  close(): void {
    munmap(this.#memory.address, this.#memory.size);
  }
}
