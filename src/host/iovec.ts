import type { MemoryBlock } from "./memory-block.ts";
import { mapForThread } from "./mmap.ts";
import { struct, u64 } from "./struct.ts";

/** struct iovec (bits/types/struct_iovec.h). */
export const iovec = struct("iovec", { iov_base: u64, iov_len: u64 });

/** 32-bit words of a struct iovec. */
export const IOVEC_WORDS = iovec.size / 4;
/** The most elements readv, writev and io_uring take (linux/uio.h, UIO_MAXIOV). */
export const MAX_IOVECS = 1024;

let table: MemoryBlock | undefined;

/** The thread's iovec array for one system call at a time: MAX_IOVECS elements, valid until their next use by the thread. */
export function iovecTable(): MemoryBlock {
  table ??= mapForThread(iovec.size * MAX_IOVECS);
  return table;
}

/**
 * Writes element `index` of an iovec array.
 * @param table the array as 32-bit words, in mapped memory
 * @param address host address
 * @param length bytes, below 2^32
 */
export function setIovec(table: Uint32Array, index: number, address: number, length: number): void {
  const at = index * IOVEC_WORDS;
  table[at] = address >>> 0;
  table[at + 1] = Math.floor(address / 0x1_0000_0000);
  table[at + 2] = length;
  table[at + 3] = 0;
}

/** The address in a struct iovec of a table of 32-bit words. */
export const segmentAddress = (table: Uint32Array, index: number): number =>
  (table[index * IOVEC_WORDS] ?? 0) + (table[index * IOVEC_WORDS + 1] ?? 0) * 0x1_0000_0000;

/** The length in a struct iovec of a table of 32-bit words. */
export const segmentLength = (table: Uint32Array, index: number): number => table[index * IOVEC_WORDS + 2] ?? 0;
