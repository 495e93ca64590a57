import { Errno } from "../../host/errno.ts";
import { LateMemory } from "../../host/late-memory.ts";
import { libc } from "../../host/libc.ts";
import type { MemoryBlock } from "../../host/memory-block.ts";
import { type ImageFile, ImageIoError } from "../image-file.ts";
import { unpackCluster } from "./compressed.ts";
import { Mapping, type Qcow2Metadata } from "./metadata.ts";
import { ImageCorruptError } from "./refcounts.ts";
import type { Qcow2Shared } from "./shared.ts";

/** The contents of a disk, read synchronously: what is below a qcow2 image, or the image itself. */
export interface ImageReader {
  /** Bytes of the disk; beyond, it reads as zeroes. */
  readonly size: number;
  /** Reads a range into memory by its address. @throws ImageIoError */
  read(offset: number, address: number, length: number): void;
  /** Gives back the memory that it has taken to read. */
  close(): void;
}

/** A raw file below an image. */
export class RawReader implements ImageReader {
  readonly size: number;
  readonly #file: ImageFile;

  constructor(file: ImageFile, size: number) {
    this.#file = file;
    this.size = size;
  }

  read(offset: number, address: number, length: number): void {
    const inside = Math.min(length, Math.max(0, this.size - offset));
    if (inside > 0) this.#file.read(offset, address, inside);
    if (inside < length) libc.memset(address + inside, 0, length - inside);
  }

  close(): void {}
}

/** What a part of the disk is made of, as `Qcow2Metadata.lookup` found it. */
export interface Piece {
  readonly kind: number;
  readonly host: number;
  readonly extent: Qcow2Metadata["extent"];
}

/** Reads through the mappings of an image and the chain below it, for one thread. */
export class Qcow2Reader implements ImageReader {
  readonly size: number;
  readonly #shared: Qcow2Shared;
  readonly #metadata: Qcow2Metadata;
  readonly #file: ImageFile;
  readonly #compression: "zlib" | "zstd";
  readonly #backing: ImageReader | undefined;
  readonly #packed: LateMemory;
  readonly #unpacked: LateMemory;
  /** What has been unpacked last: of one piece, which may be fetched in parts. */
  #extent: Piece["extent"] | undefined;

  /** @param size bytes of the disk when the image was opened */
  constructor(
    shared: Qcow2Shared,
    metadata: Qcow2Metadata,
    file: ImageFile,
    options: {
      readonly size: number;
      readonly compression: "zlib" | "zstd";
      readonly backing: ImageReader | undefined;
    },
  ) {
    this.#shared = shared;
    this.#metadata = metadata;
    this.#file = file;
    this.size = options.size;
    this.#compression = options.compression;
    this.#backing = options.backing;
    const { clusterBytes } = metadata;
    // The offset field addresses sectors, the length up to two clusters of them.
    this.#packed = new LateMemory(2 * clusterBytes + 512);
    this.#unpacked = new LateMemory(clusterBytes);
  }

  /** As a backing file, which nobody writes to. Takes the lock of this image. */
  read(offset: number, address: number, length: number): void {
    const inside = Math.min(length, Math.max(0, this.size - offset));
    for (let done = 0; done < inside; ) {
      const { lock } = this.#shared;
      lock.acquire();
      let piece: Piece;
      let size: number;
      try {
        this.#metadata.lookup(offset + done, inside - done);
        piece = this.piece();
        size = this.#metadata.length;
      } finally {
        lock.release();
      }
      this.fetch(piece, offset + done, address + done, size);
      done += size;
    }
    if (inside < length) libc.memset(address + inside, 0, length - inside);
  }

  close(): void {
    this.#packed.close();
    this.#unpacked.close();
    this.#extent = undefined;
    this.#backing?.close();
  }

  /** What `lookup` has found, to be fetched when the lock has been given back. */
  piece(): Piece {
    const { kind, host, extent } = this.#metadata;
    return { kind, host, extent };
  }

  /** Whether a piece reads as zeroes without anything being read. */
  isZero({ kind }: Piece, offset: number): boolean {
    if (kind === Mapping.ZERO) return true;
    return kind === Mapping.UNALLOCATED && (this.#backing === undefined || offset >= this.#backing.size);
  }

  /** Reads from a piece, at most to its end. @throws ImageIoError */
  fetch(piece: Piece, offset: number, address: number, length: number): void {
    switch (piece.kind) {
      case Mapping.DATA:
        this.#file.read(piece.host, address, length);
        return;
      case Mapping.COMPRESSED: {
        const within = offset % this.#metadata.clusterBytes;
        libc.memcpy(address, this.#unpack(piece).address + within, length);
        return;
      }
      case Mapping.UNALLOCATED:
        if (this.#backing !== undefined) {
          this.#readBelow(this.#backing, offset, address, length);
          return;
        }
        libc.memset(address, 0, length);
        return;
      default:
        libc.memset(address, 0, length);
    }
  }

  /** An image below that is corrupt is not this one. */
  #readBelow(backing: ImageReader, offset: number, address: number, length: number): void {
    try {
      backing.read(offset, address, length);
    } catch (error) {
      if (!(error instanceof ImageCorruptError)) throw error;
      throw new ImageIoError(`read the backing file: ${error.message}`, error.errno);
    }
  }

  /** The contents of a compressed cluster, until the next one. Each `lookup` has an extent of its own: parts of one piece share it. */
  #unpack({ extent }: Piece): MemoryBlock {
    const { clusterBytes } = this.#metadata;
    const packed = this.#packed.block;
    const unpacked = this.#unpacked.block;
    if (this.#extent === extent) return unpacked;
    this.#extent = undefined;
    this.#file.read(extent.offset, packed.address, extent.length);
    try {
      const contents = unpackCluster(packed.u8.subarray(0, extent.length), this.#compression, clusterBytes);
      if (contents.length !== clusterBytes) throw new RangeError(`${contents.length} bytes came out`);
      unpacked.u8.set(contents);
    } catch (error) {
      throw new ImageIoError(`unpack the cluster at ${extent.offset}: ${error}`, Errno.EIO);
    }
    this.#extent = extent;
    return unpacked;
  }
}
