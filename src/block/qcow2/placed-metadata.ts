import type { ImageFile } from "../image-file.ts";
import type { Qcow2Header } from "./header.ts";
import {
  compressedExtent,
  ENTRY_BYTES,
  EntryFlag,
  entryOffset,
  hasReservedBits,
  highHalf,
  lowHalf,
  SUBCLUSTERS,
} from "./layout.ts";
import { Mapping, Qcow2Metadata } from "./metadata.ts";
import { ImageCorruptError } from "./refcounts.ts";
import { type Qcow2Shared, SlotState } from "./shared.ts";

/**
 * The metadata of an image in which clusters have places that not all of their data is at: with extended L2 entries, a cluster's
 * subclusters are allocated one by one (QEMU docs/interop/qcow2.txt, "Extended L2 Entries"). Units are subclusters there. With an
 * external data file, the place of each cluster is the one that it has on the disk, whether its data is there or not, and it has
 * no refcount ("External data file").
 *
 * What is written to a unit that has a place and no data must be in the file before `mapData` says so.
 */
export class PlacedMetadata extends Qcow2Metadata {
  /** The external data file. */
  readonly #data: ImageFile | undefined;
  /** Whether entries have bits for subclusters. */
  readonly #isExtended: boolean;
  /** Units of a cluster. */
  readonly #units: number;
  /** The entry that was read last: a compressed cluster, or the file offset of the cluster, 0 where there is none. */
  #isCompressed = false;
  #host = 0;
  #isOwn = false;
  /** By units, the first in the lowest bit: those whose data is at the place, and those that read as zeroes. */
  #allocated = 0;
  #zeroes = 0;

  constructor(shared: Qcow2Shared, file: ImageFile, header: Qcow2Header, data: ImageFile | undefined) {
    super(shared, file, header);
    this.#data = data;
    this.#isExtended = header.entryBytes !== ENTRY_BYTES;
    this.#units = this.clusterBytes / this.unitBytes;
  }

  override get hasPlace(): boolean {
    return this.kind !== Mapping.COMPRESSED && (this.#data !== undefined || this.host !== 0);
  }

  override lookup(offset: number, most: number): void {
    const { clusterBytes, unitBytes } = this;
    const { entryBytes } = this.header;
    const cluster = Math.floor(offset / clusterBytes);
    const within = offset - cluster * clusterBytes;
    const index = cluster % this.l2Entries;
    const table = this.tableOf(Math.floor(cluster / this.l2Entries));
    const isOutside = this.#data !== undefined;
    this.host = isOutside ? offset : 0;
    this.isOwn = isOutside;
    if (table === 0) {
      this.kind = Mapping.UNALLOCATED;
      this.length = Math.min(most, (this.l2Entries - index) * clusterBytes - within);
      return;
    }
    let at = this.cache.locate(table + index * entryBytes);
    this.#decode(at, cluster);
    if (this.#isCompressed) {
      this.kind = Mapping.COMPRESSED;
      this.length = Math.min(most, clusterBytes - within);
      return;
    }
    const unit = Math.floor(within / unitBytes);
    const kind = this.#kindOf(unit);
    const host = this.#host;
    const isOwn = this.#isOwn;
    let end = unit + this.#run(kind, unit);
    let length = end * unitBytes - within;
    // As far as the slice reaches.
    let left = Math.min(this.l2Entries - index, (this.sliceEnd(at) - at) / entryBytes) - 1;
    for (
      let next = host + clusterBytes;
      end === this.#units && length < most && left > 0;
      left--, next += clusterBytes
    ) {
      at += entryBytes;
      this.#decode(at, cluster + (next - host) / clusterBytes);
      if (this.#isCompressed) break;
      // Data goes on at the next place, what has none with more of that. In the data file all does.
      if (!isOutside)
        if (kind === Mapping.DATA ? this.#host !== next || this.#isOwn !== isOwn : host !== 0 || this.#host !== 0)
          break;
      end = this.#run(kind, 0);
      length += end * unitBytes;
    }
    this.kind = kind;
    this.length = Math.min(most, length);
    if (host === 0 || isOutside) return;
    this.host = host + within;
    this.isOwn = isOwn;
  }

  override mapData(start: number, end: number, host: number): void {
    const { clusterBytes } = this;
    const first = Math.floor(start / clusterBytes);
    for (let cluster = first; cluster * clusterBytes < end; cluster++) {
      this.#read(cluster);
      const from = Math.max(0, start - cluster * clusterBytes) / this.unitBytes;
      const to = Math.min(clusterBytes, end - cluster * clusterBytes) / this.unitBytes;
      const data = unitMask(from, to);
      const place = host + (cluster - first) * clusterBytes;
      const allocated = this.#isCompressed ? unitMask(0, this.#units) : this.#allocated | data;
      this.#isOwn = true;
      this.#replace(cluster, place, allocated, this.#zeroes & ~data);
    }
  }

  override zero(first: number, count: number, keep: boolean): number {
    const cluster = Math.floor(first / this.#units);
    const from = first % this.#units;
    const to = Math.min(this.#units, from + count);
    this.#read(cluster);
    if (this.#isCompressed && to - from < this.#units) return 0;
    const zeroes = unitMask(from, to);
    if (this.#data !== undefined) {
      this.#zeroOutside(this.#data, from, to, keep);
      this.#store(cluster, this.#host, this.#allocated, this.#zeroes | (zeroes & ~this.#allocated));
      return to - from;
    }
    const allocated = this.#allocated & ~zeroes;
    const keepsPlace = allocated !== 0 || (keep && this.#isOwn);
    this.#replace(cluster, keepsPlace ? this.#host : 0, allocated, this.#zeroes | zeroes);
    return to - from;
  }

  override claim(offset: number): boolean {
    if (this.host === 0) return false;
    const cluster = Math.floor(offset / this.clusterBytes);
    const within = offset - cluster * this.clusterBytes;
    const place = this.host - within;
    if (this.refcounts.get(place / this.clusterBytes) !== 1) return false;
    this.prepareTable(cluster);
    this.#read(cluster);
    this.#isOwn = true;
    this.#store(cluster, place, this.#allocated, this.#zeroes);
    this.length = Math.min(this.length, this.clusterBytes - within);
    return true;
  }

  /** Data that entries refer to is in the file before they are. */
  override writeBack(): void {
    if (this.#data !== undefined) this.sync(this.#data);
    super.writeBack();
  }

  /** Zeroes what the data file holds of units [from, to) of the cluster that was read last: it keeps its place there. */
  #zeroOutside(data: ImageFile, from: number, to: number, keep: boolean): void {
    for (let unit = from; unit < to; ) {
      const kind = this.#kindOf(unit);
      const run = Math.min(to - unit, this.#run(kind, unit));
      if (kind === Mapping.DATA) data.zero(this.#host + unit * this.unitBytes, run * this.unitBytes, !keep);
      unit += run;
    }
  }

  #kindOf(unit: number): number {
    if (((this.#allocated >>> unit) & 1) !== 0) return Mapping.DATA;
    return ((this.#zeroes >>> unit) & 1) !== 0 ? Mapping.ZERO : Mapping.UNALLOCATED;
  }

  /** How many units from one on are of a kind in the entry that was read last. */
  #run(kind: number, from: number): number {
    const others =
      kind === Mapping.DATA ? ~this.#allocated : kind === Mapping.ZERO ? ~this.#zeroes : this.#allocated | this.#zeroes;
    const rest = others >>> from;
    return rest === 0 ? this.#units - from : 31 - Math.clz32(rest & -rest);
  }

  /** Reads the entry of a cluster of the disk, whose table exists. */
  #read(cluster: number): void {
    this.#decode(this.#locate(cluster), cluster);
  }

  #locate(cluster: number): number {
    const table = this.tableOf(Math.floor(cluster / this.l2Entries));
    return this.cache.locate(table + (cluster % this.l2Entries) * this.header.entryBytes);
  }

  /** @param at where in the cache the entry of a cluster of the disk is */
  #decode(at: number, cluster: number): void {
    const { view } = this.cache;
    const high = view.getUint32(at);
    const low = view.getUint32(at + 4);
    this.#zeroes = this.#isExtended ? view.getInt32(at + ENTRY_BYTES) : low & EntryFlag.ZERO;
    this.#allocated = this.#isExtended ? view.getInt32(at + ENTRY_BYTES + 4) : 0;
    this.#isCompressed = (high & EntryFlag.COMPRESSED) !== 0;
    this.#isOwn = (high & EntryFlag.COPIED) !== 0;
    if (this.#isCompressed) {
      if (this.#data !== undefined) throw new ImageCorruptError("a cluster of the data file is compressed");
      this.#host = 0;
      this.extent = compressedExtent(high, low, this.header.clusterBits);
      this.checkInFile(this.extent.offset);
      if ((this.#zeroes | this.#allocated) !== 0)
        throw new ImageCorruptError("a compressed cluster has bits for subclusters");
      return;
    }
    if (hasReservedBits(high, low) || (this.#isExtended && (low & EntryFlag.ZERO) !== 0))
      throw new ImageCorruptError(`an L2 entry has reserved bits set: ${high.toString(16)} ${low.toString(16)}`);
    const offset = entryOffset(high, low);
    const hasPlace = this.#data === undefined ? this.#checkPlace(offset) : this.#checkOutside(offset, cluster);
    if (!this.#isExtended) this.#allocated = hasPlace && this.#zeroes === 0 ? 1 : 0;
    if ((this.#zeroes & this.#allocated) !== 0)
      throw new ImageCorruptError("subclusters are allocated and marked as zeroes");
    if (!hasPlace && this.#allocated !== 0)
      throw new ImageCorruptError("subclusters are allocated in a cluster that is not");
  }

  /** Takes the place that an entry gives its cluster in the image's own file. @returns whether there is one */
  #checkPlace(offset: number): boolean {
    this.#host = offset;
    if (offset === 0) return false;
    if (offset % this.clusterBytes !== 0) throw new ImageCorruptError(`a cluster is at offset ${offset}`);
    this.checkInFile(offset);
    return true;
  }

  /** Takes the place of a cluster in the data file. @returns whether the entry says that it is used */
  #checkOutside(offset: number, cluster: number): boolean {
    this.#host = cluster * this.clusterBytes;
    if (offset === 0 && !this.#isOwn) return false;
    if (offset !== this.#host)
      throw new ImageCorruptError(`a cluster of the disk at ${this.#host} is at ${offset} in the data file`);
    this.#isOwn = true;
    return true;
  }

  /** Puts a new entry in place of the one that was read last. Where that has another place, the old one is given up. */
  #replace(cluster: number, place: number, allocated: number, zeroes: number): void {
    const host = this.#host;
    const isCompressed = this.#isCompressed;
    const { extent } = this;
    this.#store(cluster, place, allocated, zeroes);
    if (isCompressed) this.givenUp.addExtent(extent);
    else if (host !== 0 && host !== place) this.givenUp.add(host / this.clusterBytes);
  }

  #store(cluster: number, place: number, allocated: number, zeroes: number): void {
    const at = this.#locate(cluster);
    const { view } = this.cache;
    // In the data file, the first cluster's place is 0.
    const isPlaced = this.#data === undefined ? place !== 0 : this.#isOwn;
    view.setUint32(at, isPlaced ? highHalf(place) + (this.#isOwn ? EntryFlag.COPIED : 0) : 0);
    const offset = isPlaced ? lowHalf(place) : 0;
    if (this.#isExtended) {
      view.setUint32(at + 4, offset);
      view.setInt32(at + ENTRY_BYTES, zeroes);
      view.setInt32(at + ENTRY_BYTES + 4, allocated);
    } else view.setUint32(at + 4, offset + (zeroes & EntryFlag.ZERO));
    this.cache.touch(at, SlotState.DIRTY_TABLE);
  }
}

/** Bits for the units [from, to) of a cluster. */
const unitMask = (from: number, to: number): number => unitsBelow(to) & ~unitsBelow(from);
const unitsBelow = (unit: number): number => (unit === SUBCLUSTERS ? -1 : (1 << unit) - 1);
