import { SysError } from "../host/errno.ts";
import { setIovec } from "../host/iovec.ts";
import { mapAnonymous, munmap } from "../host/mmap.ts";
import type { Disk } from "./disk.ts";

const CHUNK_BYTES = 1 << 20;
/** Chunks that are read at once, at most. */
export const SCAN_DEPTH = 8;
/** Chunks after which the event loop gets its turn. */
const CHUNKS_PER_TURN = 16;

/** Takes a part of a disk; `bytes` are valid until it returns. */
export type ChunkSink = (offset: number, bytes: Uint8Array) => void;

/**
 * Reads a whole disk, several chunks at once, and gives each to `sink` as it comes, in any order.
 * @param disk nobody else may use it meanwhile
 * @param size bytes of the disk
 * @param signal stops the scan
 * @throws SysError when it cannot be read; the signal's reason; what `sink` throws
 */
export async function scanDisk(disk: Disk, size: number, sink: ChunkSink, signal: AbortSignal): Promise<void> {
  const depth = Math.min(disk.tags, SCAN_DEPTH);
  const memory = mapAnonymous(depth * CHUNK_BYTES);
  const offsets = new Float64Array(depth);
  let next = 0;
  const lengthAt = (offset: number): number => Math.min(CHUNK_BYTES, size - offset);
  const start = (tag: number): void => {
    if (next >= size) return;
    const length = lengthAt(next);
    setIovec(disk.segments(tag), 0, memory.address + tag * CHUNK_BYTES, length);
    offsets[tag] = next;
    disk.read(tag, next, length, 1);
    next += length;
  };
  try {
    for (let tag = 0; tag < depth; tag++) start(tag);
    for (let chunks = 1; disk.underWay > 0; chunks++) {
      while (!disk.next()) disk.wait(true);
      const { tag, error } = disk;
      const offset = offsets[tag] ?? 0;
      if (error !== 0) throw new SysError(error, `read the disk at ${offset}`);
      const from = tag * CHUNK_BYTES;
      sink(offset, memory.u8.subarray(from, from + lengthAt(offset)));
      if (chunks % CHUNKS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
      start(tag);
    }
  } finally {
    while (disk.underWay > 0) if (!disk.next()) disk.wait(true);
    munmap(memory.address, memory.size);
  }
}
