import { check, libc } from "../host/libc.ts";
import { MemoryBlock } from "../host/memory-block.ts";
import { Madvise, MapFlag, mmap, munmap, PAGE_SIZE, Prot } from "../host/mmap.ts";

/** Blocks start on cache lines of their own, so that threads working on different devices do not share one. */
const ALIGNMENT = 64;

/**
 * The memory that all threads of the process share: device state blocks, locks and thread controls live here. The main
 * thread allocates before the threads that use a block learn its address; pages cost nothing until touched.
 */
export class SharedArena {
  readonly #address: number;
  readonly #size: number;
  #used = 0;

  /** @param size bytes of address space, the limit of what can be allocated */
  constructor(size: number) {
    this.#size = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    this.#address = mmap({
      size: this.#size,
      prot: Prot.READ | Prot.WRITE,
      flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE,
    });
  }

  /**
   * A zeroed block.
   * @param size bytes
   * @throws RangeError when the arena is full
   */
  allocate(size: number): MemoryBlock {
    const offset = this.#used;
    const end = offset + Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    if (end > this.#size)
      throw new RangeError(`shared arena of ${this.#size} bytes cannot hold ${size} more after ${offset}`);
    this.#used = end;
    return new MemoryBlock(this.#address + offset, size);
  }

  /** Takes back every block, zeroed. No thread may still use one. @throws SysError */
  reset(): void {
    const pages = Math.ceil(this.#used / PAGE_SIZE) * PAGE_SIZE;
    if (pages > 0) check(libc.madvise(this.#address, pages, Madvise.DONTNEED), "empty the shared arena");
    this.#used = 0;
  }

  /** Returns the address space. No thread may still use a block. @throws SysError */
  close(): void {
    munmap(this.#address, this.#size);
  }
}
