import { readSync } from "node:fs";
import { ENTRY_BYTES, entryOffset } from "./layout.ts";

/**
 * Whether the cluster of the header has a refcount, as it has in every image whose refcounts were written.
 * @param fd the image, open for reading
 * @param refcountTableOffset where its refcount table lies
 * @param refcountOrder refcounts have 1 << order bits
 * @throws Error of the file system
 */
export function isHeaderCounted(fd: number, refcountTableOffset: number, refcountOrder: number): boolean {
  const table = bytesAt(fd, refcountTableOffset);
  const block = bytesAt(fd, entryOffset(table.readUInt32BE(0), table.readUInt32BE(4)));
  const bits = 2 ** refcountOrder;
  // The first of several in a byte is in its low bits (refcount blocks).
  if (bits < 8) return (block.readUInt8(0) & (2 ** bits - 1)) !== 0;
  return block.subarray(0, bits / 8).some((byte) => byte !== 0);
}

/** As many as the largest refcount, or an entry, has; zeroes where nothing can be. */
function bytesAt(fd: number, offset: number): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  if (offset !== 0 && Number.isSafeInteger(offset)) readSync(fd, bytes, 0, ENTRY_BYTES, offset);
  return bytes;
}
