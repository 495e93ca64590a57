import { check, libc } from "./libc.ts";
import { MemoryBlock } from "./memory-block.ts";

/** mmap(2) protections and flags (asm-generic/mman-common.h). */
export const Prot = { NONE: 0, READ: 1, WRITE: 2, EXEC: 4 } as const;
export const MapFlag = {
  SHARED: 0x01,
  PRIVATE: 0x02,
  FIXED: 0x10,
  ANONYMOUS: 0x20,
  NORESERVE: 0x4000,
  POPULATE: 0x8000,
  HUGETLB: 0x40000,
} as const;
export const Madvise = {
  DONTNEED: 4,
  FREE: 8,
  REMOVE: 9,
  MERGEABLE: 12,
  UNMERGEABLE: 13,
  HUGEPAGE: 14,
  NOHUGEPAGE: 15,
  DONTDUMP: 16,
  PAGEOUT: 21,
} as const;

export const PAGE_SIZE = 4096;

/** What a mapping is made of: anonymous memory when `fd` is absent. Sizes and offsets in bytes. */
export interface MapRequest {
  readonly size: number;
  readonly prot: number;
  readonly flags: number;
  readonly fd?: number;
  readonly offset?: number;
}

/**
 * mmap(2). @returns the address.
 * @throws SysError naming the size
 */
export function mmap(request: MapRequest): number {
  return check(
    libc.mmap(0, request.size, request.prot, request.flags, request.fd ?? -1, request.offset ?? 0),
    `mmap of ${request.size} bytes`,
  );
}

/** munmap(2). @throws SysError */
export function munmap(address: number, size: number): void {
  check(libc.munmap(address, size), `munmap of ${size} bytes`);
}

/** Puts anonymous zeroed memory in the place of a mapping. @throws SysError */
export function mapOver(address: number, size: number): void {
  const flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE | MapFlag.FIXED;
  check(libc.mmap(address, size, Prot.READ | Prot.WRITE, flags, -1, 0), `mmap of ${size} bytes over others`);
}

/** Anonymous zeroed memory of whole pages, for structures shared with the kernel or between threads. */
export function mapAnonymous(size: number): MemoryBlock {
  const pages = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
  const address = mmap({
    size: pages,
    prot: Prot.READ | Prot.WRITE,
    flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE,
  });
  return new MemoryBlock(address, pages);
}

/** What the calling thread has mapped for itself. */
const ofThread: MemoryBlock[] = [];

/** As `mapAnonymous`, for what the calling thread uses as long as it lives. */
export function mapForThread(size: number): MemoryBlock {
  const block = mapAnonymous(size);
  ofThread.push(block);
  return block;
}

/** Gives back what the calling thread has mapped for itself: it must do nothing more than end. @throws SysError */
export function unmapForThread(): void {
  for (const { address, size } of ofThread.splice(0)) munmap(address, size);
}
