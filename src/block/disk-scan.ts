import { SysError } from "../host/errno.ts";
import { setIovec } from "../host/iovec.ts";
import { mapAnonymous, munmap } from "../host/mmap.ts";
import type { Disk } from "./disk.ts";
import type { KnownZeroes } from "./known-zeroes.ts";

const CHUNK_BYTES = 1 << 20;
/** Chunks that are under way at once, at most. */
export const SCAN_DEPTH = 8;
/** Chunks after which the event loop gets its turn. */
const CHUNKS_PER_TURN = 16;
/** Parts of zeroes that are looked for in front of a chunk, at most: a few ms, with small clusters. */
const LOOKS_PER_CHUNK = 4096;

/** Part of a disk that is being scanned. */
export interface Chunk {
  /** Bytes from the start of the disk. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Where the bytes lie in memory. */
  readonly address: number;
}

/** Takes what is on a disk, and may keep some of it until it is done with it. */
export interface ChunkSink {
  /** Chunks that it has and needs. */
  readonly held: number;
  /**
   * Takes a chunk, whose memory stays as it is until `next` gives it back.
   * @param tag names it meanwhile, below `SCAN_DEPTH`
   */
  take(tag: number, chunk: Chunk): void;
  /** Gets on with what it has. @param block until `next` may give one back, though it need not */
  wait(block: boolean): void;
  /** Gives back a chunk that it is done with. @returns its tag, or -1 when it needs all that it has */
  next(): number;
  /** Waits until it uses the memory of no chunk any more. Nothing further comes. */
  stop(): void;
}

export interface ScanOptions {
  /** Bytes of the disk. */
  readonly size: number;
  /** What need not be read: the sink gets all else. */
  readonly zeroes: KnownZeroes;
  /** Stops the scan. */
  readonly signal: AbortSignal;
  /** Is told how many more bytes the sink is done with, or need not be read. */
  readonly progress: (bytes: number) => void;
}

/**
 * Reads a disk but for zeroes that are known, several chunks at once, and gives each to a sink as it comes, in any order.
 * @param disk nobody else may use it meanwhile
 * @throws SysError when it cannot be read; the signal's reason; what the sink throws
 */
export async function scanDisk(
  disk: Disk,
  sink: ChunkSink,
  { size, zeroes, signal, progress }: ScanOptions,
): Promise<void> {
  const depth = Math.min(disk.tags, SCAN_DEPTH);
  const memory = mapAnonymous(depth * CHUNK_BYTES);
  const chunks = new Array<Chunk | undefined>(depth).fill(undefined);
  let next = 0;
  const skipZeroes = (): void => {
    let end = next;
    for (let looks = 0; end < size && looks < LOOKS_PER_CHUNK; looks++) {
      const more = zeroes(end);
      if (more === 0) break;
      end = Math.min(size, end + more);
    }
    const skipped = end === size ? size - next : end - next - ((end - next) % CHUNK_BYTES);
    next += skipped;
    if (skipped > 0) progress(skipped);
  };
  const start = (tag: number): void => {
    skipZeroes();
    if (next >= size) return;
    const length = Math.min(CHUNK_BYTES, size - next);
    const at = tag * CHUNK_BYTES;
    const address = memory.address + at;
    chunks[tag] = { offset: next, bytes: memory.u8.subarray(at, at + length), address };
    setIovec(disk.segments(tag), 0, address, length);
    disk.read(tag, next, length, 1);
    next += length;
  };
  const take = (): void => {
    while (disk.next()) {
      const { tag, error } = disk;
      const chunk = chunks[tag];
      if (chunk === undefined) continue;
      if (error !== 0) throw new SysError(error, `read the disk at ${chunk.offset}`);
      sink.take(tag, chunk);
    }
  };
  let done = 0;
  const giveBack = (): void => {
    for (let tag = sink.next(); tag >= 0; tag = sink.next()) {
      progress(chunks[tag]?.bytes.length ?? 0);
      done++;
      start(tag);
    }
  };
  try {
    for (let tag = 0; tag < depth; tag++) start(tag);
    for (let turns = 0; disk.underWay + sink.held > 0; ) {
      // The slower side has more of the chunks: the other one is not kept waiting by it for long.
      const isReading = disk.underWay >= sink.held;
      if (isReading) sink.wait(false);
      disk.wait(isReading);
      if (!isReading) sink.wait(true);
      take();
      giveBack();
      const turn = Math.floor(done / CHUNKS_PER_TURN);
      if (turn !== turns) await new Promise((resolve) => setImmediate(resolve));
      turns = turn;
      signal.throwIfAborted();
    }
  } finally {
    while (disk.underWay > 0) if (!disk.next()) disk.wait(true);
    sink.stop();
    munmap(memory.address, memory.size);
  }
}

/** A sink that is done with a chunk at once. @param use the bytes are valid until it returns */
export function immediateSink(use: (offset: number, bytes: Uint8Array) => void): ChunkSink {
  const done: number[] = [];
  return {
    get held() {
      return done.length;
    },
    take(tag, { offset, bytes }) {
      done.push(tag);
      use(offset, bytes);
    },
    wait: () => undefined,
    next: () => done.pop() ?? -1,
    stop: () => undefined,
  };
}
