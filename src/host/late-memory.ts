import type { MemoryBlock } from "./memory-block.ts";
import { mapAnonymous, munmap } from "./mmap.ts";

/** Anonymous memory of one owner that few ever use: mapped with its first use. */
export class LateMemory {
  readonly size: number;
  #block: MemoryBlock | undefined;

  /** @param size bytes */
  constructor(size: number) {
    this.size = size;
  }

  /** @throws SysError when there is no memory left */
  get block(): MemoryBlock {
    this.#block ??= mapAnonymous(this.size);
    return this.#block;
  }

  /** Gives it back. Whoever uses it after that gets new memory. @throws SysError */
  close(): void {
    if (this.#block !== undefined) munmap(this.#block.address, this.#block.size);
    this.#block = undefined;
  }
}
