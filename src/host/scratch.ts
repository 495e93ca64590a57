import type { MemoryBlock } from "./memory-block.ts";
import { mapForThread, PAGE_SIZE } from "./mmap.ts";

/**
 * Per-thread memory for the arguments of one system call at a time: paths and small structures. Valid until the next
 * use of the scratch block by the same thread.
 */
let block: MemoryBlock | undefined;

/** The thread's scratch block: one page. */
export function scratch(): MemoryBlock {
  block ??= mapForThread(PAGE_SIZE);
  return block;
}

const encoder = new TextEncoder();

/**
 * Puts a NUL-terminated string at the start of the scratch block. @returns its address.
 * @throws RangeError when it contains NUL or exceeds PATH_MAX
 */
export function cString(text: string): number {
  const { u8, address } = scratch();
  const bytes = encoder.encode(text);
  if (bytes.length >= u8.length) throw new RangeError(`string of ${bytes.length} bytes exceeds ${u8.length - 1}`);
  if (bytes.includes(0)) throw new RangeError("string contains a NUL byte");
  u8.set(bytes);
  u8[bytes.length] = 0;
  return address;
}
