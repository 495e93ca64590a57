import { ftruncateSync, readSync, writeSync } from "node:fs";
import {
  DEFAULT_REFCOUNT_ORDER,
  ENTRY_BYTES,
  Extension,
  Header,
  MAX_BACKING_NAME_BYTES,
  MAX_CLUSTER_BITS,
  MAX_L1_BYTES,
  MAX_REFCOUNT_TABLE_BYTES,
  MAX_VIRTUAL_BYTES,
  MIN_CLUSTER_BITS,
  QCOW2_MAGIC,
} from "./layout.ts";

/** What a new image is to be like. Sizes in bytes. */
export interface NewQcow2 {
  /** Of the disk, a multiple of 512. */
  readonly size: number;
  readonly clusterBytes: number;
  readonly backing: { readonly name: string; readonly format: "raw" | "qcow2" } | undefined;
}

/** An image that cannot be made. The message says why. */
export class NewImageError extends Error {
  override readonly name = "NewImageError";
}

export const DEFAULT_CLUSTER_BYTES = 64 << 10;

const VERSION = 3;
const COPIED = 1n << 63n;
const REFCOUNT_BYTES = 2 ** (DEFAULT_REFCOUNT_ORDER - 3);
/** L2 tables in memory, in bytes, at most; at least a few. */
const TABLES_BYTES = 8 << 20;
const MIN_TABLES = 4;

/**
 * Writes a qcow2 image into an empty file that nobody else uses yet: clusters lie in the order in which they come, each is used
 * once. The file is an image only after `finish`.
 */
export class Qcow2Writer {
  readonly #fd: number;
  readonly #image: NewQcow2;
  readonly #l1: BigUint64Array;
  readonly #l1Clusters: number;
  readonly #perTable: number;
  /** L2 tables by their index in L1, the one that was used last at the end. */
  readonly #tables = new Map<number, Buffer>();
  readonly #maxTables: number;
  /** The next cluster of the file. */
  #next: number;

  /** @throws NewImageError */
  constructor(fd: number, image: NewQcow2) {
    this.#fd = fd;
    this.#image = image;
    const { size, clusterBytes, backing } = image;
    const bits = Math.log2(clusterBytes);
    if (!Number.isInteger(bits) || bits < MIN_CLUSTER_BITS || bits > MAX_CLUSTER_BITS)
      throw new NewImageError(`clusters of ${clusterBytes} bytes: give a power of two from 512 to 2M`);
    if (size <= 0 || size % 512 !== 0 || size > MAX_VIRTUAL_BYTES)
      throw new NewImageError(`a disk of ${size} bytes: give a multiple of 512 up to ${MAX_VIRTUAL_BYTES}`);
    if (
      backing !== undefined &&
      Buffer.byteLength(backing.name) > Math.min(MAX_BACKING_NAME_BYTES, clusterBytes / 2 - 128)
    )
      throw new NewImageError(
        "the name of the backing file is too long for the header: shorten it, or take larger clusters",
      );
    this.#perTable = clusterBytes / ENTRY_BYTES;
    const entries = Math.ceil(size / (clusterBytes * this.#perTable));
    if (entries * ENTRY_BYTES > MAX_L1_BYTES)
      throw new NewImageError(
        `clusters of ${clusterBytes} bytes are too small for a disk of ${size} bytes: take larger ones`,
      );
    this.#l1 = new BigUint64Array(entries);
    this.#l1Clusters = Math.ceil((entries * ENTRY_BYTES) / clusterBytes);
    this.#maxTables = Math.max(MIN_TABLES, Math.floor(TABLES_BYTES / clusterBytes));
    this.#next = 1 + this.#l1Clusters;
  }

  /**
   * Writes a part of the disk; clusters that are all zeroes are left out as long as nothing is there.
   * @param offset a multiple of 512
   * @throws Error of the system
   */
  write(offset: number, bytes: Uint8Array): void {
    const { clusterBytes } = this.#image;
    let run: { from: number; to: number; host: number } | undefined;
    const flush = (): void => {
      if (run !== undefined) writeAll(this.#fd, run.host, bytes.subarray(run.from, run.to));
      run = undefined;
    };
    for (let at = 0; at < bytes.length; ) {
      const position = offset + at;
      const within = position % clusterBytes;
      const end = Math.min(bytes.length, at + clusterBytes - within);
      if (isZero(bytes.subarray(at, end))) flush();
      else {
        const host = this.#allocate(Math.floor(position / clusterBytes)) + within;
        if (run !== undefined && run.host + (run.to - run.from) === host) run.to = end;
        else {
          flush();
          run = { from: at, to: end, host };
        }
      }
      at = end;
    }
    flush();
  }

  /** Gives every cluster of the disk a place, which reads as zeroes. @returns where they lie */
  allocateAll(): { readonly offset: number; readonly length: number } {
    const { size, clusterBytes } = this.#image;
    const offset = this.#next * clusterBytes;
    const clusters = Math.ceil(size / clusterBytes);
    for (let cluster = 0; cluster < clusters; cluster++) this.#allocate(cluster);
    return { offset, length: this.#next * clusterBytes - offset };
  }

  /** Writes what makes an image of it. @throws NewImageError, Error of the system */
  finish(): void {
    const { clusterBytes } = this.#image;
    for (const [index, table] of this.#tables) this.#store(index, table);
    this.#tables.clear();
    const l1 = Buffer.alloc(this.#l1.length * ENTRY_BYTES);
    for (const [index, entry] of this.#l1.entries()) l1.writeBigUInt64BE(entry, index * ENTRY_BYTES);
    writeAll(this.#fd, clusterBytes, l1);
    const refcounts = this.#refcounts();
    ftruncateSync(this.#fd, this.#next * clusterBytes);
    writeAll(this.#fd, 0, this.#header(refcounts));
  }

  /** @returns where a cluster of the disk lies in the file */
  #allocate(cluster: number): number {
    const table = this.#table(Math.floor(cluster / this.#perTable));
    const at = (cluster % this.#perTable) * ENTRY_BYTES;
    const entry = table.readBigUInt64BE(at);
    if (entry !== 0n) return Number(entry & ~COPIED);
    const host = this.#next++ * this.#image.clusterBytes;
    table.writeBigUInt64BE(BigInt(host) | COPIED, at);
    return host;
  }

  #table(index: number): Buffer {
    const { clusterBytes } = this.#image;
    let table = this.#tables.get(index);
    if (table === undefined) {
      table = Buffer.alloc(clusterBytes);
      const entry = this.#l1[index] ?? 0n;
      if (entry === 0n) this.#l1[index] = BigInt(this.#next++ * clusterBytes) | COPIED;
      else readSync(this.#fd, table, 0, clusterBytes, Number(entry & ~COPIED));
      const [oldest] = this.#tables;
      if (oldest !== undefined && this.#tables.size >= this.#maxTables) {
        this.#store(...oldest);
        this.#tables.delete(oldest[0]);
      }
    } else this.#tables.delete(index);
    this.#tables.set(index, table);
    return table;
  }

  #store(index: number, table: Buffer): void {
    writeAll(this.#fd, Number((this.#l1[index] ?? 0n) & ~COPIED), table);
  }

  /** Appends refcounts that say that all of the file is used once, themselves included. */
  #refcounts(): { readonly tableOffset: number; readonly tableClusters: number } {
    const { clusterBytes } = this.#image;
    const perBlock = clusterBytes / REFCOUNT_BYTES;
    let blocks = 0;
    let tableClusters = 0;
    for (;;) {
      const total = this.#next + blocks + tableClusters;
      const neededBlocks = Math.ceil(total / perBlock);
      const neededTable = Math.ceil((neededBlocks * ENTRY_BYTES) / clusterBytes);
      if (neededBlocks === blocks && neededTable === tableClusters) break;
      blocks = neededBlocks;
      tableClusters = neededTable;
    }
    if (tableClusters * clusterBytes > MAX_REFCOUNT_TABLE_BYTES)
      throw new NewImageError(`clusters of ${clusterBytes} bytes are too small for that much data: take larger ones`);
    const first = this.#next;
    const total = first + blocks + tableClusters;
    const block = Buffer.alloc(clusterBytes);
    const table = Buffer.alloc(tableClusters * clusterBytes);
    for (let at = 0; at < clusterBytes; at += REFCOUNT_BYTES) block.writeUInt16BE(1, at);
    for (let index = 0; index < blocks; index++) {
      const used = Math.min(perBlock, total - index * perBlock);
      block.fill(0, used * REFCOUNT_BYTES);
      const host = (first + index) * clusterBytes;
      writeAll(this.#fd, host, block);
      table.writeBigUInt64BE(BigInt(host), index * ENTRY_BYTES);
    }
    const tableOffset = (first + blocks) * clusterBytes;
    writeAll(this.#fd, tableOffset, table);
    this.#next = total;
    return { tableOffset, tableClusters };
  }

  #header({ tableOffset, tableClusters }: { readonly tableOffset: number; readonly tableClusters: number }): Buffer {
    const { size, clusterBytes, backing } = this.#image;
    const head = Buffer.alloc(clusterBytes);
    head.writeUInt32BE(QCOW2_MAGIC, Header.MAGIC);
    head.writeUInt32BE(VERSION, Header.VERSION);
    head.writeUInt32BE(Math.log2(clusterBytes), Header.CLUSTER_BITS);
    head.writeBigUInt64BE(BigInt(size), Header.SIZE);
    head.writeUInt32BE(this.#l1.length, Header.L1_SIZE);
    head.writeBigUInt64BE(BigInt(clusterBytes), Header.L1_OFFSET);
    head.writeBigUInt64BE(BigInt(tableOffset), Header.REFCOUNT_TABLE_OFFSET);
    head.writeUInt32BE(tableClusters, Header.REFCOUNT_TABLE_CLUSTERS);
    head.writeUInt32BE(DEFAULT_REFCOUNT_ORDER, Header.REFCOUNT_ORDER);
    head.writeUInt32BE(Header.V3_BYTES, Header.LENGTH);
    if (backing !== undefined) {
      // The extension, padded to 8 bytes, the end of the extensions, and the name.
      const extension = Header.V3_BYTES;
      head.writeUInt32BE(Extension.BACKING_FORMAT, extension);
      head.writeUInt32BE(backing.format.length, extension + 4);
      head.write(backing.format, extension + 8);
      const name = extension + 16 + 8;
      head.writeBigUInt64BE(BigInt(name), Header.BACKING_OFFSET);
      head.writeUInt32BE(head.write(backing.name, name), Header.BACKING_SIZE);
    }
    return head;
  }
}

const ZEROES = Buffer.alloc(2 ** MAX_CLUSTER_BITS);
const isZero = (bytes: Uint8Array): boolean => ZEROES.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;

function writeAll(fd: number, offset: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}
