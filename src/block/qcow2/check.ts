import { readSync } from "node:fs";
import { DiskImageError } from "../image-error.ts";
import type { Qcow2Header } from "./header.ts";
import { compressedExtent, ENTRY_BYTES, EntryFlag, entryOffset, hasReservedBits, MAX_L1_BYTES } from "./layout.ts";

/** What was found wrong with an image, in clusters or entries. */
export interface Qcow2Findings {
  /** Used more often than their refcounts say, or entries that cannot be right: writing would do harm. */
  corruptions: number;
  /** Of those, the ones that no refcount mends: entries that cannot be right, and clusters used as two things at once. */
  broken: number;
  /** Used less often than their refcounts say: space is lost, nothing else. */
  leaks: number;
  /** The first of them, in words. */
  readonly examples: string[];
}

/** An image that is open for reading and that nobody writes to. */
export interface CheckedImage {
  readonly path: string;
  readonly fd: number;
  readonly fileSize: number;
  readonly header: Qcow2Header;
}

export interface CheckOptions {
  readonly signal: AbortSignal;
  readonly progress: (done: number, all: number) => void;
  /** As in `WalkOptions`. */
  readonly window?: number;
}

/** Clusters of the file that one pass over the tables was about, one after the other. */
export interface Window {
  readonly first: number;
  readonly count: number;
  /** How often each is referred to. */
  readonly used: Uint32Array;
  /** Its refcount. */
  readonly stored: Uint32Array;
}

export interface WalkOptions {
  /** Clusters of the file that are looked at in one pass over the tables; memory is 9 bytes for each. Tests give fewer. */
  readonly window?: number | undefined;
  /** Refcounts are neither read nor counted among what uses clusters: they are going to be others. */
  readonly withoutRefcounts?: boolean;
  readonly onWindow?: (window: Window) => void;
  /** An entry at an offset of the file says wrongly whether what it refers to is used once. */
  readonly onWrongFlag?: (offset: number, isUsedOnce: boolean) => void;
  /** Refcounts are not where the image says, or something else is there too: they can only be made anew. */
  readonly onLostRefcounts?: () => void;
}

const WINDOW_CLUSTERS = 2 << 20;
const MAX_EXAMPLES = 20;
const MAX_COUNT = 0xffff_ffff;
/** Entries of tables after which others get their turn. */
export const ENTRIES_PER_TURN = 1 << 19;
/** What a cluster holds. What one refers to may be another's only where both are the same, and not where there is one of it. */
const Role = { HEADER: 1, REFCOUNT_TABLE: 2, REFCOUNT_BLOCK: 3, L1: 4, SNAPSHOTS: 5, L2: 6, DATA: 7 } as const;
type Role = (typeof Role)[keyof typeof Role];
const ROLE_NAMES = ["", "the header", "refcount table", "refcounts", "L1 table", "snapshot table", "L2 table", "data"];
const isShareable = (role: Role): boolean => role === Role.L2 || role === Role.DATA;
const isOfRefcounts = (role: number): boolean => role === Role.REFCOUNT_TABLE || role === Role.REFCOUNT_BLOCK;
/** Fields of a snapshot table entry. */
const Snapshot = {
  L1_OFFSET: 0,
  L1_ENTRIES: 8,
  ID_BYTES: 12,
  NAME_BYTES: 14,
  EXTRA_BYTES: 36,
  HEAD_BYTES: 40,
} as const;

/**
 * Compares refcounts with what the tables refer to. The image is gone over once for each window of its file, so that memory is
 * bounded whatever its size.
 * @throws DiskImageError when it cannot be checked, the signal's reason
 */
export async function checkQcow2(
  image: CheckedImage,
  { window, signal, progress }: CheckOptions,
): Promise<Qcow2Findings> {
  const walk = walkQcow2(image, { window, onWindow: ({ first, count }) => progress(first + count, clustersOf(image)) });
  for (;;) {
    const { done, value } = walk.next();
    if (done === true) return value;
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
}

/** The same, in steps for whoever has something else to do between them. @throws DiskImageError when it cannot be checked */
export function walkQcow2(image: CheckedImage, options: WalkOptions): Generator<void, Qcow2Findings> {
  if (image.header.hasAutoclearBits)
    throw new DiskImageError(image.path, "has bitmaps or other extras, which are not known here: use qemu-img check");
  return new Checker(image, options).run();
}

const clustersOf = ({ fileSize, header }: CheckedImage): number => Math.ceil(fileSize / 2 ** header.clusterBits);

interface L1Table {
  readonly what: string;
  readonly offset: number;
  readonly entries: number;
  readonly isActive: boolean;
}

class Checker {
  readonly #image: CheckedImage;
  readonly #options: WalkOptions;
  readonly #clusterBytes: number;
  /** Clusters of the file. */
  readonly #clusters: number;
  readonly #findings: Qcow2Findings = { corruptions: 0, broken: 0, leaks: 0, examples: [] };
  /** References to, and refcounts of, the clusters of the window. */
  readonly #used: Uint32Array;
  readonly #stored: Uint32Array;
  /** What they hold: a `Role`, or 0. */
  readonly #roles: Uint8Array;
  /** The first cluster of the window. */
  #first = 0;
  #entriesRead = 0;

  constructor(image: CheckedImage, options: WalkOptions) {
    this.#image = image;
    this.#options = options;
    this.#clusterBytes = 2 ** image.header.clusterBits;
    this.#clusters = clustersOf(image);
    const window = Math.min(options.window ?? WINDOW_CLUSTERS, this.#clusters);
    this.#used = new Uint32Array(window);
    this.#stored = new Uint32Array(window);
    this.#roles = new Uint8Array(window);
  }

  *run(): Generator<void, Qcow2Findings> {
    const { onWindow, withoutRefcounts } = this.#options;
    for (; this.#first < this.#clusters; this.#first += this.#used.length) {
      this.#used.fill(0);
      this.#stored.fill(0);
      this.#roles.fill(0);
      this.#use(Role.HEADER, "the header", 0, 1);
      if (withoutRefcounts !== true) this.#refcountBlocks();
      for (const table of this.#l1Tables()) yield* this.#walkL1(table);
      const count = Math.min(this.#used.length, this.#clusters - this.#first);
      if (withoutRefcounts !== true) this.#compare(count);
      onWindow?.({ first: this.#first, count, used: this.#used, stored: this.#stored });
      yield;
    }
    return this.#findings;
  }

  /** Loads the refcounts of the window, and counts what holds them. */
  #refcountBlocks(): void {
    const { refcountTableOffset, refcountTableClusters, refcountOrder } = this.#image.header;
    const bytes = refcountTableClusters * this.#clusterBytes;
    this.#use(Role.REFCOUNT_TABLE, "the refcount table", refcountTableOffset, bytes);
    const table = this.#read(refcountTableOffset, bytes);
    const perBlock = (this.#clusterBytes * 8) / 2 ** refcountOrder;
    const end = this.#first + this.#stored.length;
    for (let index = 0; index < bytes / ENTRY_BYTES; index++) {
      const offset = this.#pointer(table, index, `entry ${index} of the refcount table`, 0x1ff, Role.REFCOUNT_BLOCK);
      if (offset === 0) continue;
      if (!this.#use(Role.REFCOUNT_BLOCK, `refcount block ${index}`, offset, this.#clusterBytes)) continue;
      const from = Math.max(index * perBlock, this.#first);
      const to = Math.min((index + 1) * perBlock, end);
      if (from >= to) continue;
      const block = this.#read(offset, this.#clusterBytes);
      for (let cluster = from; cluster < to; cluster++)
        this.#stored[cluster - this.#first] = refcountAt(block, cluster - index * perBlock, refcountOrder);
    }
  }

  /** The table in use and those of the snapshots. */
  #l1Tables(): L1Table[] {
    const { l1Offset, l1Entries, snapshots, snapshotsOffset } = this.#image.header;
    const tables: L1Table[] = [{ what: "the L1 table", offset: l1Offset, entries: l1Entries, isActive: true }];
    let at = snapshotsOffset;
    for (let index = 0; index < snapshots; index++) {
      const head = this.#read(at, Snapshot.HEAD_BYTES);
      const offset = Number(head.readBigUInt64BE(Snapshot.L1_OFFSET));
      const entries = head.readUInt32BE(Snapshot.L1_ENTRIES);
      const tail =
        head.readUInt32BE(Snapshot.EXTRA_BYTES) +
        head.readUInt16BE(Snapshot.ID_BYTES) +
        head.readUInt16BE(Snapshot.NAME_BYTES);
      at += Math.ceil((Snapshot.HEAD_BYTES + tail) / 8) * 8;
      if (at > this.#image.fileSize) {
        this.#corrupt(`the snapshot table ends outside of the file`);
        break;
      }
      const what = `the L1 table of snapshot ${index + 1}`;
      if (entries * ENTRY_BYTES > MAX_L1_BYTES || offset % this.#clusterBytes !== 0)
        this.#corrupt(`${what} cannot be at ${offset}, with ${entries} entries`);
      else tables.push({ what, offset, entries, isActive: false });
    }
    if (snapshots > 0) this.#use(Role.SNAPSHOTS, "the snapshot table", snapshotsOffset, at - snapshotsOffset);
    return tables;
  }

  *#walkL1({ what, offset, entries, isActive }: L1Table): Generator<void, void> {
    const bytes = entries * ENTRY_BYTES;
    if (bytes === 0 || !this.#use(Role.L1, what, offset, bytes)) return;
    const table = this.#read(offset, bytes);
    const { entryBytes } = this.#image.header;
    for (let index = 0; index < entries; index++) {
      const l2 = this.#pointer(table, index, `entry ${index} of ${what}`, 0x1ff, Role.L2);
      if (l2 === 0) continue;
      const name = `entry ${index} of ${what}`;
      if (!this.#use(Role.L2, name, l2, this.#clusterBytes)) continue;
      if (isActive) this.#checkCopied(table, offset, index, l2, name);
      this.#walkL2(l2, name, isActive, (index * this.#clusterBytes * this.#clusterBytes) / entryBytes);
      if (this.#isTurnOver(this.#clusterBytes / entryBytes)) yield;
    }
    if (this.#isTurnOver(entries)) yield;
  }

  #isTurnOver(entries: number): boolean {
    this.#entriesRead += entries;
    if (this.#entriesRead < ENTRIES_PER_TURN) return false;
    this.#entriesRead = 0;
    return true;
  }

  /** @param start where on the disk what the table maps begins */
  #walkL2(offset: number, where: string, isActive: boolean, start: number): void {
    const { clusterBits, entryBytes, dataFile } = this.#image.header;
    const isExtended = entryBytes !== ENTRY_BYTES;
    const table = this.#read(offset, this.#clusterBytes);
    for (let at = 0; at < table.length; at += entryBytes) {
      const high = table.readUInt32BE(at);
      const low = table.readUInt32BE(at + 4);
      const zeroes = isExtended ? table.readUInt32BE(at + ENTRY_BYTES) : 0;
      const allocated = isExtended ? table.readUInt32BE(at + ENTRY_BYTES + 4) : 0;
      if (high === 0 && low === 0 && allocated === 0) continue;
      const name = (): string => `entry ${at / entryBytes} of the L2 table of ${where}`;
      if ((zeroes & allocated) !== 0)
        this.#corrupt(`${name()} has subclusters that are allocated and marked as zeroes`);
      if (dataFile !== undefined) {
        this.#checkOutside(table, offset, at, start + (at / entryBytes) * this.#clusterBytes, allocated !== 0, name);
        continue;
      }
      if ((high & EntryFlag.COMPRESSED) !== 0) {
        const extent = compressedExtent(high, low, clusterBits);
        this.#use(Role.DATA, name, extent.offset, extent.length);
        if ((high & EntryFlag.COPIED) !== 0)
          this.#wrongFlag(offset + at, false, () => `${name()} is compressed and says that it is used once`);
        if ((zeroes | allocated) !== 0) this.#corrupt(`${name()} is compressed and has bits for subclusters`);
        continue;
      }
      const host = this.#pointer(table, at / ENTRY_BYTES, name, isExtended ? 0x1ff : 0x1fe, Role.DATA);
      if (host === 0 && allocated !== 0) this.#corrupt(`${name()} has subclusters that are allocated, and no cluster`);
      if (host === 0 || !this.#use(Role.DATA, name, host, this.#clusterBytes)) continue;
      if (isActive) this.#checkCopied(table, offset, at / ENTRY_BYTES, host, name);
    }
  }

  /** Whether an entry of a cluster in the data file gives it the place that it has on the disk, where it is the only one. */
  #checkOutside(table: Buffer, tableOffset: number, at: number, start: number, isUsed: boolean, name: Name): void {
    const high = table.readUInt32BE(at);
    if ((high & EntryFlag.COMPRESSED) !== 0) {
      this.#corrupt(`${text(name)} is compressed, in a data file`);
      return;
    }
    const reserved = this.#image.header.entryBytes === ENTRY_BYTES ? 0x1fe : 0x1ff;
    const host = this.#pointer(table, at / ENTRY_BYTES, name, reserved, Role.DATA);
    const isCopied = (high & EntryFlag.COPIED) !== 0;
    if (host === 0 && !isCopied) {
      if (isUsed) this.#corrupt(`${text(name)} has subclusters that are allocated, and no cluster`);
    } else if (host !== start) this.#corrupt(`${text(name)} refers to ${host} in the data file, instead of ${start}`);
    else if (!isCopied)
      this.#wrongFlag(tableOffset + at, true, () => `${text(name)} does not say that its cluster is used once`);
  }

  /** @returns the offset in an entry; 0 where there is none, or one that cannot be right */
  #pointer(table: Buffer, index: number, name: Name, reservedLow: number, role: Role): number {
    const high = table.readUInt32BE(index * ENTRY_BYTES);
    const low = table.readUInt32BE(index * ENTRY_BYTES + 4);
    const offset = entryOffset(high, low);
    if (hasReservedBits(high, low) || (low & reservedLow) !== 0)
      this.#corrupt(`${text(name)} has reserved bits set`, role);
    if (offset % this.#clusterBytes === 0) return offset;
    this.#corrupt(`${text(name)} refers to ${offset}, where no cluster starts`, role);
    return 0;
  }

  /** Counts a reference to all clusters of a range. @returns whether the range is in the file */
  #use(role: Role, name: Name, offset: number, bytes: number): boolean {
    const from = Math.floor(offset / this.#clusterBytes);
    const to = Math.ceil((offset + bytes) / this.#clusterBytes);
    if (to > this.#clusters) {
      this.#corrupt(`${text(name)} refers to ${offset}, outside of the file`, role);
      return false;
    }
    const end = Math.min(to - this.#first, this.#used.length);
    for (let index = Math.max(0, from - this.#first); index < end; index++) {
      this.#used[index] = Math.min(MAX_COUNT, (this.#used[index] ?? 0) + 1);
      const before = this.#roles[index] ?? 0;
      this.#roles[index] = role;
      if (before === 0 || (before === role && isShareable(role))) continue;
      const roles = `${ROLE_NAMES[before]} and ${ROLE_NAMES[role]}`;
      this.#broken(
        `cluster ${this.#first + index} is used twice, as ${roles}, the latter by ${text(name)}`,
        isOfRefcounts(before) ? before : role,
      );
    }
    return true;
  }

  /** Whether an entry says rightly that what it refers to is used once. */
  #checkCopied(table: Buffer, tableOffset: number, index: number, offset: number, name: Name): void {
    if (this.#options.withoutRefcounts === true) return;
    const stored = this.#stored[offset / this.#clusterBytes - this.#first];
    // Looked at by the pass whose window it is in.
    if (stored === undefined) return;
    const isCopied = (table.readUInt32BE(index * ENTRY_BYTES) & EntryFlag.COPIED) !== 0;
    if (isCopied === (stored === 1)) return;
    this.#found("corruptions", `${text(name)} is wrong about refcount ${stored}`);
    this.#options.onWrongFlag?.(tableOffset + index * ENTRY_BYTES, stored === 1);
  }

  /** A compressed cluster has no flag: found by each pass, and told by the first. */
  #wrongFlag(offset: number, isUsedOnce: boolean, problem: () => string): void {
    if (this.#first !== 0) return;
    this.#found("corruptions", problem());
    this.#options.onWrongFlag?.(offset, isUsedOnce);
  }

  #compare(count: number): void {
    for (let index = 0; index < count; index++) {
      const used = this.#used[index] ?? 0;
      const stored = this.#stored[index] ?? 0;
      if (used === stored) continue;
      this.#found(
        used > stored ? "corruptions" : "leaks",
        `cluster ${this.#first + index} is used ${used} times, its refcount is ${stored}`,
      );
    }
  }

  /** What every pass finds again. */
  #corrupt(problem: string, role: number = Role.DATA): void {
    if (this.#first === 0) this.#broken(problem, role);
  }

  /** @param role what cannot be as it is */
  #broken(problem: string, role: number): void {
    if (isOfRefcounts(role)) this.#options.onLostRefcounts?.();
    else this.#findings.broken++;
    this.#found("corruptions", problem);
  }

  #found(kind: "corruptions" | "leaks", problem: string): void {
    this.#findings[kind]++;
    if (this.#findings.examples.length < MAX_EXAMPLES) this.#findings.examples.push(problem);
  }

  /** What is beyond the file's end reads as zeroes. */
  #read(offset: number, bytes: number): Buffer {
    const { path, fd } = this.#image;
    const buffer = Buffer.alloc(bytes);
    try {
      for (let done = 0; done < bytes; ) {
        const count = readSync(fd, buffer, done, bytes - done, offset + done);
        if (count === 0) break;
        done += count;
      }
      return buffer;
    } catch (cause) {
      throw new DiskImageError(path, `cannot be read at ${offset}`, { cause });
    }
  }
}

/** Made only where it is told: there are many entries. */
type Name = string | (() => string);
const text = (name: Name): string => (typeof name === "string" ? name : name());

/** @param order refcounts have 1 << order bits; below 8 the first is in the low bits (qcow2: refcount blocks) */
function refcountAt(block: Buffer, index: number, order: number): number {
  switch (order) {
    case 6:
      return Number(
        block.readBigUInt64BE(index * 8) > BigInt(MAX_COUNT) ? MAX_COUNT : block.readBigUInt64BE(index * 8),
      );
    case 5:
      return block.readUInt32BE(index * 4);
    case 4:
      return block.readUInt16BE(index * 2);
    default: {
      const bits = 2 ** order;
      const bit = index * bits;
      return ((block[bit >>> 3] ?? 0) >>> (bit & 7)) & (2 ** bits - 1);
    }
  }
}
