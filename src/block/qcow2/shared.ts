import { MemoryBlock } from "../../host/memory-block.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import type { BlockRef } from "../../threads/block-ref.ts";
import { Lock } from "../../threads/lock.ts";
import type { Qcow2Header } from "./header.ts";
import { ENTRY_BYTES, MAX_L1_BYTES, MAX_REFCOUNT_TABLE_BYTES, MAX_VIRTUAL_BYTES } from "./layout.ts";

/** Numbers that change while an image is open, by their place in `Qcow2Shared.words`. */
export const Word = {
  /** Bytes of the disk. */
  SIZE: 0,
  L1_OFFSET: 1,
  L1_ENTRIES: 2,
  /** Entries of the L1 table that differ from the file's: [from, to). */
  L1_DIRTY_FROM: 3,
  L1_DIRTY_TO: 4,
  REFCOUNT_TABLE_OFFSET: 5,
  REFCOUNT_TABLE_CLUSTERS: 6,
  /** No cluster below this one is free. */
  FIRST_FREE: 7,
  /** Clusters of the file, those included that were allocated beyond its end. Beyond, the file reads as zeroes. */
  FILE_CLUSTERS: 8,
  /** Counts accesses to the cache, to find what has not been used for long. */
  CLOCK: 9,
  /** Slots of the cache that differ from the file. */
  DIRTY_SLOTS: 10,
  /** Clusters that nothing refers to any more and that may not be used again yet. */
  PENDING: 11,
  /** Counts write-backs. Requests on data clusters carry the count of when they were started. */
  GENERATION: 12,
  /** Not zero when the image was found corrupt or could not be made durable: nothing is written to it any more. */
  BROKEN: 13,
  /** Not zero when entries refer to clusters whose data is on its way, so that the file may end before them. */
  DEFERRED: 14,
  COUNT: 16,
} as const;

/** What a slot of the cache holds, which decides when it is written. */
export const SlotState = { CLEAN: 0, DIRTY_REFCOUNTS: 1, DIRTY_TABLE: 2 } as const;

/** Slots that a slice of metadata can be in. */
export const WAYS = 8;
/** The bound of an image's metadata cache: with clusters of 64 KiB it covers 64 GiB of disk. */
export const MAX_CACHE_BYTES = 8 << 20;
const MIN_CACHE_BYTES = 64 << 10;
/** Metadata is read and written in slices of a page, or of a cluster where those are smaller. */
const MAX_SLICE_BITS = 12;
export const MAX_PENDING = 4096;
/** The most requests that a queue has under way. */
export const MAX_TAGS = 1024;

const WORDS_OFFSET = 64;
const PAGE = 4096;

/** Sizes of the parts of the shared memory, which follow from the header. */
export interface Qcow2Capacity {
  readonly sliceBits: number;
  readonly slots: number;
  readonly l1Bytes: number;
  readonly refcountTableBytes: number;
  readonly queues: number;
}

/**
 * @param fileSize bytes of the image's file
 * @param queues threads that will use the image
 */
export function capacityOf(header: Qcow2Header, fileSize: number, queues: number): Qcow2Capacity {
  const { clusterBits, size, refcountOrder } = header;
  const clusterBytes = 2 ** clusterBits;
  const l2Bytes = Math.ceil(size / clusterBytes) * header.entryBytes;
  const cacheBytes = Math.min(MAX_CACHE_BYTES, Math.max(MIN_CACHE_BYTES, 2 * l2Bytes));
  const sliceBits = Math.min(MAX_SLICE_BITS, clusterBits);
  // All that the disk may grow to may have to be allocated anew, beside what is there.
  const l1Bytes = Math.min(MAX_L1_BYTES, Math.ceil((header.l1Entries * ENTRY_BYTES) / PAGE + 1) * PAGE);
  const l2Covers = (clusterBytes * clusterBytes) / header.entryBytes;
  const largest = Math.max(size, Math.min(MAX_VIRTUAL_BYTES, (l1Bytes / ENTRY_BYTES) * l2Covers));
  const mostClusters = (2 * largest + 2 * fileSize) / clusterBytes + 64;
  const clustersOfBlock = (clusterBytes * 8) / 2 ** refcountOrder;
  const refcountTableBytes = Math.max(
    header.refcountTableClusters * clusterBytes,
    Math.ceil(((mostClusters / clustersOfBlock + 1) * ENTRY_BYTES) / clusterBytes) * clusterBytes,
  );
  return {
    sliceBits,
    slots: Math.ceil(cacheBytes / 2 ** sliceBits / WAYS) * WAYS,
    l1Bytes,
    refcountTableBytes: Math.min(MAX_REFCOUNT_TABLE_BYTES, refcountTableBytes),
    queues,
  };
}

/**
 * The metadata of an open image in memory that all threads of its queues share: the L1 table and the refcount table as in the
 * file, a cache of slices of L2 tables and refcount blocks, and what is going on. Guarded by one lock.
 */
export class Qcow2Shared {
  readonly lock: Lock;
  readonly words: Float64Array;
  readonly l1: MemoryBlock;
  readonly refcountTable: MemoryBlock;
  /** Of each slot: the number of its slice plus one, or 0. */
  readonly keys: Float64Array;
  /** When it was used last. */
  readonly stamps: Float64Array;
  /** `SlotState`. */
  readonly states: Uint8Array;
  readonly slices: MemoryBlock;
  readonly pendingClusters: Float64Array;
  /** The generation at which each became pending. */
  readonly pendingGenerations: Float64Array;
  /** By queue and tag: the generation of the request under way on data clusters plus one, or 0. */
  readonly requests: Float64Array;
  readonly capacity: Qcow2Capacity;

  constructor(ref: BlockRef, capacity: Qcow2Capacity) {
    const { slots, l1Bytes, refcountTableBytes, sliceBits, queues } = capacity;
    this.capacity = capacity;
    let at = ref.address + WORDS_OFFSET;
    const take = (bytes: number): MemoryBlock => {
      const block = new MemoryBlock(at, bytes);
      at += Math.ceil(bytes / 8) * 8;
      return block;
    };
    const floats = (count: number): Float64Array => new Float64Array(take(8 * count).u8.buffer);
    const lock = new MemoryBlock(ref.address, WORDS_OFFSET);
    this.lock = new Lock(lock.i32, lock.address);
    this.words = floats(Word.COUNT);
    this.keys = floats(slots);
    this.stamps = floats(slots);
    this.states = take(slots).u8;
    this.pendingClusters = floats(MAX_PENDING);
    this.pendingGenerations = floats(MAX_PENDING);
    this.requests = floats(queues * MAX_TAGS);
    this.l1 = take(l1Bytes);
    this.refcountTable = take(refcountTableBytes);
    this.slices = take(slots * 2 ** sliceBits);
  }

  /** Bytes of the whole. */
  static sizeOf({ slots, l1Bytes, refcountTableBytes, sliceBits, queues }: Qcow2Capacity): number {
    const fixed = WORDS_OFFSET + 8 * (Word.COUNT + 2 * MAX_PENDING + queues * MAX_TAGS);
    return fixed + 16 * slots + Math.ceil(slots / 8) * 8 + l1Bytes + refcountTableBytes + slots * 2 ** sliceBits;
  }

  /** Memory for an image. @throws SysError */
  static allocate(capacity: Qcow2Capacity): BlockRef {
    const { address, size } = mapAnonymous(Qcow2Shared.sizeOf(capacity));
    return { address, size };
  }

  /** Gives the memory back. No thread may use it any more. @throws SysError */
  static free({ address, size }: BlockRef): void {
    munmap(address, size);
  }
}
