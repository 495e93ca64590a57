import { Errno } from "../../host/errno.ts";
import { scratch } from "../../host/scratch.ts";
import { type ImageFile, ImageIoError } from "../image-file.ts";
import { GivenUpClusters } from "./given-up-clusters.ts";
import type { Qcow2Header } from "./header.ts";
import {
  compressedExtent,
  ENTRY_BYTES,
  EntryFlag,
  entryOffset,
  Header,
  hasReservedBits,
  highHalf,
  Incompatible,
  lowHalf,
  SUBCLUSTERS,
} from "./layout.ts";
import { MetadataCache } from "./metadata-cache.ts";
import { ImageCorruptError, Refcounts, zeroCluster } from "./refcounts.ts";
import { type Qcow2Shared, SlotState, Word } from "./shared.ts";

/** What a part of the disk is made of. */
export const Mapping = {
  /** Nothing: the backing file shows, or zeroes. */
  UNALLOCATED: 0,
  /** Zeroes, though a backing file may hold something else. */
  ZERO: 1,
  /** Bytes of the file. */
  DATA: 2,
  COMPRESSED: 3,
} as const;

/**
 * The metadata of a qcow2 image as one thread sees it. Every method is to be called under the image's lock.
 *
 * Changes are made in memory and reach the file in `writeBack`: first what clusters contain and that they are in use, then
 * what refers to them, each made durable before the next. Only after that are clusters lowered that nothing refers to any
 * more. A file that was cut off at any write is therefore whole, and holds at worst clusters that are lost.
 */
export class Qcow2Metadata {
  readonly clusterBytes: number;
  readonly refcounts: Refcounts;
  readonly givenUp: GivenUpClusters;
  /** Entries of an L2 table. */
  readonly l2Entries: number;
  /** Bytes of the least that can be allocated or marked as zeroes: a cluster, or a subcluster. */
  readonly unitBytes: number;

  /** What `lookup` found: `Mapping`. */
  kind: number = Mapping.UNALLOCATED;
  /** Bytes from the place asked for that are mapped alike and lie one after the other. */
  length = 0;
  /** Of `DATA`: the file offset of the place asked for. */
  host = 0;
  /** Of `DATA`: nothing else refers to these clusters, so that they can be written in place. */
  isOwn = false;
  /** Of `COMPRESSED`: where in the file the compressed cluster lies. */
  extent: { readonly offset: number; readonly length: number } = { offset: 0, length: 0 };

  protected readonly shared: Qcow2Shared;
  protected readonly file: ImageFile;
  protected readonly cache: MetadataCache;
  protected readonly header: Qcow2Header;

  constructor(shared: Qcow2Shared, file: ImageFile, header: Qcow2Header) {
    this.shared = shared;
    this.file = file;
    this.header = header;
    this.clusterBytes = 2 ** header.clusterBits;
    this.l2Entries = this.clusterBytes / header.entryBytes;
    this.unitBytes = this.clusterBytes / (header.entryBytes === ENTRY_BYTES ? 1 : SUBCLUSTERS);
    this.cache = new MetadataCache(shared, file, () => this.writeBack());
    this.refcounts = new Refcounts(shared, this.cache, file, header);
    this.givenUp = new GivenUpClusters(shared, this.cache, this.refcounts, file, this.clusterBytes);
  }

  /** Whether something waits for `writeBack`. */
  get isDirty(): boolean {
    const { words } = this.shared;
    return words[Word.DIRTY_SLOTS] !== 0 || words[Word.L1_DIRTY_TO] !== 0 || words[Word.PENDING] !== 0;
  }

  /**
   * Finds out what a place of the disk is made of, into `kind`, `length`, `host`, `isOwn` and `extent`.
   * @param most bytes that are of interest
   * @throws ImageIoError, ImageCorruptError
   */
  lookup(offset: number, most: number): void {
    const { clusterBytes } = this;
    const cluster = Math.floor(offset / clusterBytes);
    const within = offset - cluster * clusterBytes;
    const index = cluster % this.l2Entries;
    const table = this.tableOf(Math.floor(cluster / this.l2Entries));
    if (table === 0) {
      this.kind = Mapping.UNALLOCATED;
      this.length = Math.min(most, (this.l2Entries - index) * clusterBytes - within);
      return;
    }
    const { view } = this.cache;
    let at = this.cache.locate(table + index * ENTRY_BYTES);
    const high = view.getUint32(at);
    const low = view.getUint32(at + 4);
    this.#classify(high, low);
    this.length = Math.min(most, clusterBytes - within);
    if (this.kind === Mapping.COMPRESSED) return;
    const host = this.host;
    // As far as the slice reaches.
    let left = Math.min(this.l2Entries - index, (this.sliceEnd(at) - at) / ENTRY_BYTES) - 1;
    // What lies outside the file is found out when it is asked for.
    if (this.kind === Mapping.DATA)
      left = Math.min(left, (this.shared.words[Word.FILE_CLUSTERS] ?? 0) - host / clusterBytes - 1);
    for (let next = host + clusterBytes; this.length < most && left > 0; left--, next += clusterBytes) {
      at += ENTRY_BYTES;
      if (!this.#continues(view.getUint32(at), view.getUint32(at + 4), next)) break;
      this.length = Math.min(most, this.length + clusterBytes);
    }
    this.host = host + within;
  }

  /** Whether what `lookup` found, though it is no data, has a place in the file that can be written to. */
  get hasPlace(): boolean {
    return false;
  }

  /**
   * Makes entries refer to clusters of data that are theirs alone and hold what they are to show. What the entries referred
   * to is given up.
   * @param start where on the disk the data begins, at a unit; clusters around it are in one slice of one table
   * @param end where it ends, at a unit
   * @param host the file offset of the cluster that the first data is in
   */
  mapData(start: number, end: number, host: number): void {
    const first = start / this.clusterBytes;
    for (let cluster = first; cluster < end / this.clusterBytes; cluster++) {
      const offset = host + (cluster - first) * this.clusterBytes;
      this.#replace(cluster, highHalf(offset) + EntryFlag.COPIED, lowHalf(offset));
    }
  }

  /**
   * Makes units of the disk read as zeroes: the first at least, and those that follow as far as that is one change.
   * @param keep whether their place in the file stays reserved for them
   * @returns how many; 0 where only writing zeroes can do that
   */
  zero(cluster: number, _count: number, keep: boolean): number {
    const canMark = this.header.version >= 3;
    if (keep) {
      this.lookup(cluster * this.clusterBytes, 1);
      if (this.host !== 0 && this.isOwn && (this.kind === Mapping.DATA || this.kind === Mapping.ZERO)) {
        if (!canMark) return 0;
        this.#setEntry(cluster, highHalf(this.host) + EntryFlag.COPIED, lowHalf(this.host) + EntryFlag.ZERO);
        return 1;
      }
    }
    if (canMark) this.#replace(cluster, 0, EntryFlag.ZERO);
    else if (this.header.backing === undefined) this.#replace(cluster, 0, 0);
    else return 0;
    return 1;
  }

  /**
   * Finds out whether clusters that `lookup` found to be data are in truth the image's own, and says so in their entries.
   * @param offset the place that was asked for
   * @returns whether the first is; `length` then ends with the last that is
   */
  claim(offset: number): boolean {
    const cluster = Math.floor(offset / this.clusterBytes);
    const within = offset - cluster * this.clusterBytes;
    const first = this.host - within;
    const count = Math.ceil((within + this.length) / this.clusterBytes);
    let own = 0;
    for (; own < count && this.refcounts.get(first / this.clusterBytes + own) === 1; own++) {
      const host = first + own * this.clusterBytes;
      if (own === 0) this.prepareTable(cluster);
      this.#setEntry(cluster + own, highHalf(host) + EntryFlag.COPIED, lowHalf(host));
    }
    if (own === 0) return false;
    this.length = Math.min(this.length, own * this.clusterBytes - within);
    return true;
  }

  /**
   * The L2 table for a place of the disk, made or made the image's own if need be, so that entries can be changed.
   * @throws ImageIoError
   */
  prepareTable(cluster: number): void {
    const l1Index = Math.floor(cluster / this.l2Entries);
    const { view } = this.shared.l1;
    const at = l1Index * ENTRY_BYTES;
    const table = this.tableOf(l1Index);
    if (table !== 0 && (view.getUint32(at) & EntryFlag.COPIED) !== 0) return;
    if (table !== 0 && this.refcounts.get(table / this.clusterBytes) === 1) {
      this.#setL1(l1Index, table);
      return;
    }
    const { first } = this.refcounts.allocate(1);
    const offset = first * this.clusterBytes;
    this.cache.forget(offset, this.clusterBytes);
    try {
      if (table === 0) this.file.write(offset, zeroCluster(this.clusterBytes), this.clusterBytes);
      else this.#copyTable(table, offset);
    } catch (error) {
      this.undoAllocation(first, 1);
      throw error;
    }
    this.#setL1(l1Index, offset);
    if (table !== 0) this.givenUp.add(table / this.clusterBytes);
  }

  /** How many entries from that of a cluster on lie in one slice of one table. */
  entriesFrom(cluster: number): number {
    const perSlice = 2 ** this.shared.capacity.sliceBits / this.header.entryBytes;
    return perSlice - (cluster % perSlice);
  }

  /** Takes back clusters that were allocated and that nothing was made to refer to. */
  undoAllocation(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) this.refcounts.release(cluster);
  }

  /** Brings the file to the state in memory, durably. @throws ImageIoError; what could not be written stays to be written */
  writeBack(): void {
    const { words, l1 } = this.shared;
    if (words[Word.BROKEN] !== 0) throw new ImageIoError("nothing is written to the image any more", Errno.EIO);
    if (words[Word.DEFERRED] !== 0) {
      // No entry may refer to what is beyond the file's end. All that is ever written lies before this.
      this.file.extend((words[Word.FILE_CLUSTERS] ?? 0) * this.clusterBytes);
      words[Word.DEFERRED] = 0;
    }
    this.cache.write(SlotState.DIRTY_REFCOUNTS);
    this.sync(this.file);
    const to = words[Word.L1_DIRTY_TO] ?? 0;
    const from = words[Word.L1_DIRTY_FROM] ?? 0;
    if (to === 0 && words[Word.DIRTY_SLOTS] === 0) {
      words[Word.GENERATION] = (words[Word.GENERATION] ?? 0) + 1;
      return;
    }
    this.cache.write(SlotState.DIRTY_TABLE);
    if (to > 0) {
      const offset = (words[Word.L1_OFFSET] ?? 0) + from * ENTRY_BYTES;
      this.file.write(offset, l1.address + from * ENTRY_BYTES, (to - from) * ENTRY_BYTES);
    }
    this.sync(this.file);
    words[Word.L1_DIRTY_FROM] = 0;
    words[Word.L1_DIRTY_TO] = 0;
    words[Word.GENERATION] = (words[Word.GENERATION] ?? 0) + 1;
  }

  /** Has whoever opens the image next know that it is corrupt, where the format can say so. */
  markCorrupt(): void {
    const { words } = this.shared;
    if (words[Word.BROKEN] !== 0) return;
    words[Word.BROKEN] = 1;
    if (this.header.version < 3) return;
    const { view, address } = scratch();
    this.file.read(Header.INCOMPATIBLE + 4, address, 4);
    view.setUint32(0, view.getUint32(0) | (1 << Incompatible.CORRUPT));
    this.file.write(Header.INCOMPATIBLE + 4, address, 4);
    this.file.sync();
  }

  /** Sets `kind`, `host`, `isOwn` and `extent` from an entry. `host` is that of the cluster, 0 where there is none. */
  #classify(high: number, low: number): void {
    this.host = 0;
    this.isOwn = (high & EntryFlag.COPIED) !== 0;
    if ((high & EntryFlag.COMPRESSED) !== 0) {
      this.kind = Mapping.COMPRESSED;
      this.extent = compressedExtent(high, low, this.header.clusterBits);
      this.checkInFile(this.extent.offset);
      return;
    }
    const isZero = (low & EntryFlag.ZERO) !== 0;
    if (hasReservedBits(high, low) || (isZero && this.header.version < 3))
      throw new ImageCorruptError(`an L2 entry has reserved bits set: ${high.toString(16)} ${low.toString(16)}`);
    this.host = entryOffset(high, low);
    if (this.host !== 0) {
      if (this.host % this.clusterBytes !== 0) throw new ImageCorruptError(`a cluster is at offset ${this.host}`);
      this.checkInFile(this.host);
    }
    this.kind = isZero ? Mapping.ZERO : this.host === 0 ? Mapping.UNALLOCATED : Mapping.DATA;
  }

  /** Whether an entry goes on with what `lookup` found. */
  #continues(high: number, low: number, next: number): boolean {
    if ((high & EntryFlag.COMPRESSED) !== 0) return false;
    const isZero = (low & EntryFlag.ZERO) !== 0;
    switch (this.kind) {
      case Mapping.DATA:
        return !isZero && entryOffset(high, low) === next && ((high & EntryFlag.COPIED) !== 0) === this.isOwn;
      case Mapping.ZERO:
        return isZero;
      default:
        return high === 0 && low === 0;
    }
  }

  protected checkInFile(offset: number): void {
    if (
      offset < this.clusterBytes ||
      Math.floor(offset / this.clusterBytes) >= (this.shared.words[Word.FILE_CLUSTERS] ?? 0)
    )
      throw new ImageCorruptError(`a cluster is at offset ${offset}, outside the file`);
  }

  /** The file offset of an L2 table, 0 where there is none. */
  protected tableOf(l1Index: number): number {
    if (l1Index >= (this.shared.words[Word.L1_ENTRIES] ?? 0))
      throw new ImageIoError(`L1 entry ${l1Index} does not exist`, Errno.EIO);
    const { view } = this.shared.l1;
    const at = l1Index * ENTRY_BYTES;
    const offset = entryOffset(view.getUint32(at), view.getUint32(at + 4));
    if (offset === 0) return 0;
    if (offset % this.clusterBytes !== 0) throw new ImageCorruptError(`L2 table ${l1Index} is at offset ${offset}`);
    this.checkInFile(offset);
    return offset;
  }

  #setL1(l1Index: number, table: number): void {
    const { l1, words } = this.shared;
    l1.view.setUint32(l1Index * ENTRY_BYTES, highHalf(table) + EntryFlag.COPIED);
    l1.view.setUint32(l1Index * ENTRY_BYTES + 4, lowHalf(table));
    const to = words[Word.L1_DIRTY_TO] ?? 0;
    words[Word.L1_DIRTY_FROM] = to === 0 ? l1Index : Math.min(words[Word.L1_DIRTY_FROM] ?? 0, l1Index);
    words[Word.L1_DIRTY_TO] = Math.max(to, l1Index + 1);
  }

  /** Copies a table that a snapshot uses, which nobody has changed since it was read. */
  #copyTable(from: number, to: number): void {
    const { address, size } = scratch();
    for (let done = 0; done < this.clusterBytes; done += size) {
      const part = Math.min(size, this.clusterBytes - done);
      this.file.read(from + done, address, part);
      this.file.write(to + done, address, part);
    }
  }

  /** Puts a new entry in place of one that is given up. */
  #replace(cluster: number, high: number, low: number): void {
    this.lookup(cluster * this.clusterBytes, 1);
    const { kind, host, extent } = this;
    this.#setEntry(cluster, high, low);
    if (kind === Mapping.COMPRESSED) this.givenUp.addExtent(extent);
    else if (host !== 0) this.givenUp.add(host / this.clusterBytes);
  }

  #setEntry(cluster: number, high: number, low: number): void {
    const table = this.tableOf(Math.floor(cluster / this.l2Entries));
    const at = this.cache.locate(table + (cluster % this.l2Entries) * ENTRY_BYTES);
    const { view } = this.cache;
    view.setUint32(at, high);
    view.setUint32(at + 4, low);
    this.cache.touch(at, SlotState.DIRTY_TABLE);
  }

  /** Makes a file durable. What a failed sync has lost no later one brings back. @throws ImageIoError */
  sync(file: ImageFile): void {
    try {
      file.sync();
    } catch (error) {
      this.shared.words[Word.BROKEN] = 1;
      throw error;
    }
  }

  protected sliceEnd(at: number): number {
    const sliceBytes = 2 ** this.shared.capacity.sliceBits;
    return (Math.floor(at / sliceBytes) + 1) * sliceBytes;
  }
}
