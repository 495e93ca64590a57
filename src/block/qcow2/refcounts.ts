import { Errno } from "../../host/errno.ts";
import { mapForThread } from "../../host/mmap.ts";
import { scratch } from "../../host/scratch.ts";
import { type ImageFile, ImageIoError } from "../image-file.ts";
import { ENTRY_BYTES, entryOffset, Header, highHalf, lowHalf } from "./layout.ts";
import type { MetadataCache } from "./metadata-cache.ts";
import { type Qcow2Shared, SlotState, Word } from "./shared.ts";

/**
 * Clusters beyond the file's end that may have refcounts, as they do when the file became shorter in a crash. Each is passed by on its
 * own, under the image's lock: a table that refers to one block again and again would take minutes.
 */
const MOST_USED_BEYOND_END = 1 << 20;

/** Refcounts, and blocks that are not there, that one search for a free cluster passes: it takes place under the image's lock. */
const MOST_PASSED = 1 << 20;

/** Metadata of an image that cannot be right. What it leads to must be neither used nor written. */
export class ImageCorruptError extends ImageIoError {
  constructor(problem: string) {
    super(`the image is corrupt: ${problem}`, Errno.EIO);
  }
}

/**
 * The refcounts of an image's clusters, and so its allocator. Refcounts are raised before anything refers to a cluster and
 * lowered after nothing does any more, so that the file holds at worst clusters that are lost, never ones that are used twice.
 * To be used under the image's lock.
 */
export class Refcounts {
  readonly #shared: Qcow2Shared;
  readonly #cache: MetadataCache;
  readonly #file: ImageFile;
  readonly #clusterBytes: number;
  readonly #order: number;
  /** Refcounts in a block. */
  readonly #perBlock: number;
  readonly #largest: number;
  /** All slices of the cache as refcounts in the file's byte order, which does not matter to a zero; undefined for odd widths. */
  readonly #counts: Uint8Array | Uint16Array | Uint32Array | undefined;

  constructor(
    shared: Qcow2Shared,
    cache: MetadataCache,
    file: ImageFile,
    geometry: { readonly clusterBits: number; readonly refcountOrder: number },
  ) {
    this.#shared = shared;
    this.#cache = cache;
    this.#file = file;
    this.#clusterBytes = 2 ** geometry.clusterBits;
    this.#order = geometry.refcountOrder;
    this.#perBlock = (this.#clusterBytes * 8) / 2 ** this.#order;
    this.#largest = Math.min(2 ** (2 ** this.#order) - 1, Number.MAX_SAFE_INTEGER);
    const { u8, u16, u32 } = shared.slices;
    this.#counts = [undefined, undefined, undefined, u8, u16, u32][this.#order];
  }

  /** How often a cluster is referred to. @throws ImageIoError */
  get(cluster: number): number {
    const block = this.#block(Math.floor(cluster / this.#perBlock));
    return block === 0 ? 0 : this.#load(block, cluster % this.#perBlock);
  }

  /**
   * Allocates clusters that lie one after the other.
   * @param wanted how many would be best
   * @returns how many there are, from `first` on
   * @throws ImageIoError
   */
  allocate(wanted: number): { readonly first: number; readonly count: number } {
    const { words } = this.#shared;
    const end = words[Word.FILE_CLUSTERS] ?? 0;
    const first = this.#nextFree(words[Word.FIRST_FREE] ?? 0, end);
    if (first >= end) {
      // All of a run must fit between two refcount blocks.
      const count = Math.min(wanted, Math.max(1, this.#perBlock >>> 1));
      return { first: this.append(count), count };
    }
    let count = 1;
    while (count < wanted && first + count < end && this.#isFree(first + count)) count++;
    for (let cluster = first; cluster < first + count; cluster++) {
      this.#checkUnused(cluster);
      this.#set(cluster, 1);
    }
    words[Word.FIRST_FREE] = first + count;
    return { first, count };
  }

  /**
   * Allocates clusters one after the other at the end of the file, and the refcount blocks that they need.
   * @returns the first
   * @throws ImageIoError
   */
  append(count: number): number {
    for (;;) {
      const { start, missing } = this.#planAppend(count);
      const blocks = Math.ceil((start + missing.length + count) / this.#perBlock);
      if (blocks > this.#tableEntries) {
        this.#growTable(blocks);
        continue;
      }
      try {
        const first = this.#extend(start, missing, count);
        if (missing.length > 0) {
          this.#cache.write(SlotState.DIRTY_REFCOUNTS);
          this.#sync();
          this.#writeTable(missing);
        }
        return first;
      } catch (error) {
        this.#forgetBlocks(missing);
        throw error;
      }
    }
  }

  /** Lowers a refcount by one. Nothing in the file may refer to the cluster for that any more. @returns what is left */
  release(cluster: number): number {
    const count = this.get(cluster);
    if (count === 0) throw new ImageCorruptError(`cluster ${cluster} is in use and has refcount 0`);
    this.#set(cluster, count - 1);
    const { words } = this.#shared;
    if (count === 1) words[Word.FIRST_FREE] = Math.min(words[Word.FIRST_FREE] ?? 0, cluster);
    return count - 1;
  }

  get #tableEntries(): number {
    return ((this.#shared.words[Word.REFCOUNT_TABLE_CLUSTERS] ?? 0) * this.#clusterBytes) / ENTRY_BYTES;
  }

  /** The offset of a refcount block, 0 where there is none. */
  #block(index: number): number {
    if (index >= this.#tableEntries) return 0;
    const { view } = this.#shared.refcountTable;
    const at = index * ENTRY_BYTES;
    const offset = entryOffset(view.getUint32(at), view.getUint32(at + 4));
    if (
      offset % this.#clusterBytes !== 0 ||
      offset / this.#clusterBytes >= (this.#shared.words[Word.FILE_CLUSTERS] ?? 0)
    )
      throw new ImageCorruptError(`refcount block ${index} is at offset ${offset}`);
    return offset;
  }

  /** The first cluster of a range that can be taken, or its end. A full file is passed by a slice of refcounts at a time. */
  #nextFree(start: number, end: number): number {
    const perSlice = (2 ** this.#shared.capacity.sliceBits * 8) / 2 ** this.#order;
    const { words } = this.#shared;
    let cluster = start;
    for (let passed = 0; cluster < end && passed < MOST_PASSED; ) {
      const index = cluster % this.#perBlock;
      const block = this.#block(Math.floor(cluster / this.#perBlock));
      if (block === 0) {
        cluster += this.#perBlock - index;
        passed++;
        continue;
      }
      const count = Math.min(perSlice - (index % perSlice), end - cluster);
      const free = this.#firstFree(block, index, count);
      if (free >= 0) {
        words[Word.FIRST_FREE] = cluster + free;
        return cluster + free;
      }
      cluster += count;
      passed += count;
    }
    // The next search goes on here.
    words[Word.FIRST_FREE] = Math.min(cluster, end);
    return end;
  }

  /** The first of some clusters of a slice that is free, counted from `index` on; negative if none is. */
  #firstFree(block: number, index: number, count: number): number {
    const counts = this.#counts;
    if (counts === undefined) {
      for (let i = 0; i < count; i++) if (this.#load(block, index + i) === 0) return i;
      return -1;
    }
    const at = this.#cache.locate(block + index * counts.BYTES_PER_ELEMENT) / counts.BYTES_PER_ELEMENT;
    return counts.subarray(at, at + count).indexOf(0);
  }

  /** A cluster can be taken: it is free, and has a refcount block. */
  #isFree(cluster: number): boolean {
    const block = this.#block(Math.floor(cluster / this.#perBlock));
    return block !== 0 && this.#load(block, cluster % this.#perBlock) === 0;
  }

  /** A free cluster is none of those that every image has, and not one whose metadata is in use. */
  #checkUnused(cluster: number): void {
    const { words } = this.#shared;
    const offset = cluster * this.#clusterBytes;
    const end = offset + this.#clusterBytes;
    const overlaps = (start: number, length: number): boolean => offset < start + length && start < end;
    if (
      cluster === 0 ||
      overlaps(words[Word.L1_OFFSET] ?? 0, (words[Word.L1_ENTRIES] ?? 0) * ENTRY_BYTES) ||
      overlaps(words[Word.REFCOUNT_TABLE_OFFSET] ?? 0, this.#tableEntries * ENTRY_BYTES) ||
      this.#cache.holds(offset, this.#clusterBytes)
    )
      throw new ImageCorruptError(`cluster ${cluster} holds metadata and has refcount 0`);
  }

  /** Refcount blocks that a range of clusters needs and that are not there. */
  #missingBlocks(start: number, count: number): number[] {
    const missing: number[] = [];
    const last = Math.floor((start + count - 1) / this.#perBlock);
    for (let index = Math.floor(start / this.#perBlock); index <= last; index++)
      if (this.#block(index) === 0) missing.push(index);
    return missing;
  }

  #writeTable(indices: readonly number[]): void {
    const offset = this.#shared.words[Word.REFCOUNT_TABLE_OFFSET] ?? 0;
    for (const index of indices)
      this.#file.write(
        offset + index * ENTRY_BYTES,
        this.#shared.refcountTable.address + index * ENTRY_BYTES,
        ENTRY_BYTES,
      );
  }

  /** Moves the refcount table to where it can be larger. */
  #growTable(entries: number): void {
    const { words, refcountTable } = this.#shared;
    const capacity = refcountTable.size / this.#clusterBytes;
    const old = { offset: words[Word.REFCOUNT_TABLE_OFFSET] ?? 0, clusters: words[Word.REFCOUNT_TABLE_CLUSTERS] ?? 0 };
    // The table needs clusters and blocks of its own.
    const clusters = Math.min(capacity, Math.ceil((entries * 1.5 * ENTRY_BYTES) / this.#clusterBytes) + 1);
    if (clusters * this.#clusterBytes < (entries + 2) * ENTRY_BYTES)
      throw new ImageIoError("the image cannot grow any more", Errno.ENOSPC);
    words[Word.REFCOUNT_TABLE_CLUSTERS] = clusters;
    let missing: readonly number[] = [];
    let offset: number;
    try {
      const plan = this.#planAppend(clusters);
      missing = plan.missing;
      offset = this.#extend(plan.start, missing, clusters) * this.#clusterBytes;
      this.#cache.write(SlotState.DIRTY_REFCOUNTS);
      this.#file.write(offset, refcountTable.address, clusters * this.#clusterBytes);
      this.#sync();
    } catch (error) {
      this.#forgetBlocks(missing);
      words[Word.REFCOUNT_TABLE_CLUSTERS] = old.clusters;
      throw error;
    }
    try {
      this.#writeHeader(offset, clusters);
      this.#file.sync();
    } catch (error) {
      // Which of both the header refers to nobody knows.
      words[Word.BROKEN] = 1;
      throw error;
    }
    words[Word.REFCOUNT_TABLE_OFFSET] = offset;
    for (let i = 0; i < old.clusters; i++) this.release(old.offset / this.#clusterBytes + i);
  }

  /** Has blocks that the file's table does not refer to yet be none. Clusters that were allocated with them are lost. */
  #forgetBlocks(indices: readonly number[]): void {
    const { view } = this.#shared.refcountTable;
    for (const index of indices) {
      const at = index * ENTRY_BYTES;
      const offset = entryOffset(view.getUint32(at), view.getUint32(at + 4));
      if (offset !== 0) this.#cache.forget(offset, this.#clusterBytes);
      view.setUint32(at, 0);
      view.setUint32(at + 4, 0);
    }
  }

  #sync(): void {
    try {
      this.#file.sync();
    } catch (error) {
      this.#shared.words[Word.BROKEN] = 1;
      throw error;
    }
  }

  /** Where clusters at the end of the file would start, and the refcount blocks that have to come before them. */
  #planAppend(count: number): { readonly start: number; readonly missing: readonly number[] } {
    const { words } = this.#shared;
    const end = words[Word.FILE_CLUSTERS] ?? 0;
    for (;;) {
      const start = words[Word.FILE_CLUSTERS] ?? 0;
      if (start - end > MOST_USED_BEYOND_END)
        throw new ImageCorruptError(`more than ${MOST_USED_BEYOND_END} clusters beyond its end have refcounts`);
      let missing: readonly number[] = [];
      for (;;) {
        const needed = this.#missingBlocks(start, missing.length + count);
        if (needed.length === missing.length) break;
        missing = needed;
      }
      const used = this.#lastUsed(start, missing.length + count);
      if (used === undefined) return { start, missing };
      words[Word.FILE_CLUSTERS] = used + 1;
    }
  }

  /** The last cluster of a range that is in use, though the file ends before it. */
  #lastUsed(start: number, count: number): number | undefined {
    for (let cluster = start + count - 1; cluster >= start; cluster--) if (this.get(cluster) !== 0) return cluster;
    return undefined;
  }

  /** Puts refcount blocks and then `count` clusters at the end of the file, all with refcount 1. @returns the first of the latter */
  #extend(start: number, missing: readonly number[], count: number): number {
    const { words, refcountTable } = this.#shared;
    const first = start + missing.length;
    missing.forEach((index, i) => {
      const offset = (start + i) * this.#clusterBytes;
      this.#file.write(offset, zeroCluster(this.#clusterBytes), this.#clusterBytes);
      this.#cache.forget(offset, this.#clusterBytes);
      words[Word.FILE_CLUSTERS] = start + i + 1;
      refcountTable.view.setUint32(index * ENTRY_BYTES, highHalf(offset));
      refcountTable.view.setUint32(index * ENTRY_BYTES + 4, lowHalf(offset));
    });
    words[Word.FILE_CLUSTERS] = first + count;
    for (let cluster = start; cluster < first + count; cluster++) this.#set(cluster, 1);
    return first;
  }

  #writeHeader(tableOffset: number, clusters: number): void {
    const buffer = scratch();
    buffer.view.setUint32(0, highHalf(tableOffset));
    buffer.view.setUint32(4, lowHalf(tableOffset));
    buffer.view.setUint32(8, clusters);
    this.#file.write(Header.REFCOUNT_TABLE_OFFSET, buffer.address, 12);
  }

  #load(block: number, index: number): number {
    const { view } = this.#cache;
    if (this.#order < 3) {
      const bit = index << this.#order;
      const at = this.#cache.locate(block + (bit >>> 3));
      return (view.getUint8(at) >>> (bit & 7)) & ((1 << (1 << this.#order)) - 1);
    }
    const at = this.#cache.locate(block + (index << (this.#order - 3)));
    switch (this.#order) {
      case 3:
        return view.getUint8(at);
      case 4:
        return view.getUint16(at);
      case 5:
        return view.getUint32(at);
      default:
        return view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4);
    }
  }

  /** Sets the refcount of a cluster that has a block. */
  #set(cluster: number, value: number): void {
    if (value > this.#largest) throw new ImageIoError(`cluster ${cluster} cannot be shared any more`, Errno.ENOSPC);
    const block = this.#block(Math.floor(cluster / this.#perBlock));
    if (block === 0) throw new ImageCorruptError(`cluster ${cluster} has no refcount`);
    const index = cluster % this.#perBlock;
    const { view } = this.#cache;
    let at: number;
    if (this.#order < 3) {
      const bit = index << this.#order;
      at = this.#cache.locate(block + (bit >>> 3));
      const mask = ((1 << (1 << this.#order)) - 1) << (bit & 7);
      view.setUint8(at, (view.getUint8(at) & ~mask) | (value << (bit & 7)));
    } else {
      at = this.#cache.locate(block + (index << (this.#order - 3)));
      if (this.#order === 3) view.setUint8(at, value);
      else if (this.#order === 4) view.setUint16(at, value);
      else if (this.#order === 5) view.setUint32(at, value);
      else {
        view.setUint32(at, highHalf(value));
        view.setUint32(at + 4, lowHalf(value));
      }
    }
    this.#cache.touch(at, SlotState.DIRTY_REFCOUNTS);
  }
}

let zeroes: { readonly address: number; readonly size: number } | undefined;

/** The address of a cluster of zeroes of this thread's. Costs no memory as long as nobody writes there. */
export function zeroCluster(clusterBytes: number): number {
  if (zeroes === undefined || zeroes.size < clusterBytes) zeroes = mapForThread(clusterBytes);
  return zeroes.address;
}
