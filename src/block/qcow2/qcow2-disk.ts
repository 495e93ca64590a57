import { Errno } from "../../host/errno.ts";
import { MAX_IOVECS, setIovec } from "../../host/iovec.ts";
import type { MemoryBlock } from "../../host/memory-block.ts";
import { mapAnonymous } from "../../host/mmap.ts";
import { logger } from "../../threads/log.ts";
import type { Disk } from "../disk.ts";
import type { RawDisk } from "../raw-disk.ts";
import { type Qcow2Image, type Qcow2View, viewOf } from "./image.ts";
import { type ImageFile, ImageIoError, PosixImageFile } from "./image-file.ts";
import { Mapping } from "./metadata.ts";
import { ImageCorruptError, zeroCluster } from "./refcounts.ts";
import { MAX_PENDING, MAX_TAGS, Word } from "./shared.ts";

const log = logger("qcow2");

const IOVEC_WORDS = 4;

/** Where the data of a write comes from: a request's segments, or zeroes. */
interface Source {
  /** Writes part of the data to the file. @param skip bytes of the request before it */
  write(skip: number, host: number, length: number): void;
}

/** One thread's access to a qcow2 image. @param raw its file */
export function openQcow2Disk(image: Qcow2Image, raw: RawDisk, queue: number): Disk {
  return new Qcow2Disk(image, viewOf(image), new PosixImageFile(image.cachedFd), raw, queue);
}

/**
 * A qcow2 image for one thread. What is one run of data clusters goes to the file as a raw disk's requests do, at their place
 * there; all else - new clusters, zeroes, compressed ones, backing files - is done on the spot.
 */
export class Qcow2Disk implements Disk {
  readonly #image: Qcow2Image;
  readonly #raw: RawDisk;
  readonly #file: ImageFile;
  readonly #view: Qcow2View;
  /** The first element of this queue in the shared table of requests. */
  readonly #requests: number;
  readonly #clusterBytes: number;
  #copy: MemoryBlock | undefined;

  /**
   * @param queue number of the queue that this thread serves
   * @param raw the image's file, with as many tags
   */
  constructor(image: Qcow2Image, view: Qcow2View, file: ImageFile, raw: RawDisk, queue: number) {
    this.#image = image;
    this.#view = view;
    this.#file = file;
    this.#raw = raw;
    this.#requests = queue * MAX_TAGS;
    this.#clusterBytes = view.metadata.clusterBytes;
  }

  get tags(): number {
    return this.#raw.tags;
  }

  get underWay(): number {
    return this.#raw.underWay;
  }

  get tag(): number {
    return this.#raw.tag;
  }

  get error(): number {
    return this.#raw.error;
  }

  segments(tag: number): Uint32Array {
    return this.#raw.segments(tag);
  }

  read(tag: number, offset: number, length: number, count: number): void {
    const { shared, metadata } = this.#view;
    try {
      shared.lock.acquire();
      try {
        metadata.lookup(offset, length);
        this.#enter(tag);
      } finally {
        shared.lock.release();
      }
      if (metadata.kind === Mapping.DATA && metadata.length === length) {
        this.#raw.read(tag, metadata.host, length, count);
        return;
      }
      this.#readPieces(tag, offset, length);
      this.#raw.finish(tag, 0);
    } catch (error) {
      this.#fail(tag, error);
    }
  }

  write(tag: number, offset: number, length: number, count: number): void {
    const { shared, metadata } = this.#view;
    let isInPlace = false;
    try {
      shared.lock.acquire();
      try {
        this.#refuseIfBroken();
        metadata.lookup(offset, length);
        isInPlace = metadata.kind === Mapping.DATA && metadata.isOwn && metadata.length === length;
        if (isInPlace) this.#enter(tag);
        else this.#writePieces(offset, length, new SegmentSource(this.#file, this.segments(tag)));
      } finally {
        shared.lock.release();
      }
    } catch (error) {
      this.#fail(tag, error);
      return;
    }
    if (isInPlace) this.#raw.write(tag, metadata.host, length, count);
    else this.#raw.finish(tag, 0);
  }

  flush(tag: number): void {
    const { metadata } = this.#view;
    let isClean = false;
    const ended = this.#underLock(tag, () => {
      isClean = !metadata.isDirty;
      if (!isClean) this.#writeBack();
    });
    if (!ended) return;
    if (isClean) this.#raw.flush(tag);
    else this.#raw.finish(tag, 0);
  }

  discard(tag: number, offset: number, length: number): void {
    const first = Math.ceil(offset / this.#clusterBytes);
    const end = this.#endCluster(offset + length);
    // What the format cannot make zeroes stays: a discard is a hint.
    if (this.#underLock(tag, () => this.#clearClusters(first, end, false))) this.#raw.finish(tag, 0);
  }

  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void {
    if (this.#underLock(tag, () => this.#zeroRange(offset, offset + length, mayUnmap))) this.#raw.finish(tag, 0);
  }

  watch(eventFd: number): void {
    this.#raw.watch(eventFd);
  }

  wait(block: boolean): void {
    this.#raw.wait(block);
  }

  next(): boolean {
    if (!this.#raw.next()) return false;
    this.#view.shared.requests[this.#requests + this.#raw.tag] = 0;
    return true;
  }

  close(): void {
    this.#raw.close();
  }

  /** Has clusters that the request was told of stay what they are until it is over. Under the lock. */
  #enter(tag: number): void {
    const { requests, words } = this.#view.shared;
    requests[this.#requests + tag] = (words[Word.GENERATION] ?? 0) + 1;
  }

  /** Makes a change under the lock. A failure ends the request. @returns whether there was none */
  #underLock(tag: number, change: () => unknown): boolean {
    const { lock } = this.#view.shared;
    try {
      lock.acquire();
      try {
        this.#refuseIfBroken();
        change();
      } finally {
        lock.release();
      }
      return true;
    } catch (error) {
      this.#fail(tag, error);
      return false;
    }
  }

  #zeroRange(offset: number, end: number, mayUnmap: boolean): void {
    const zeroes = new ZeroSource(this.#file, this.#clusterBytes);
    const first = Math.ceil(offset / this.#clusterBytes);
    const last = this.#endCluster(end);
    const head = Math.min(end, first * this.#clusterBytes);
    if (head > offset) this.#writePieces(offset, head - offset, zeroes);
    for (const cluster of this.#clearClusters(first, last, !mayUnmap))
      this.#writePieces(cluster * this.#clusterBytes, this.#clusterBytes, zeroes);
    const tail = Math.max(head, last * this.#clusterBytes);
    if (tail < end) this.#writePieces(tail, end - tail, zeroes);
  }

  #readPieces(tag: number, offset: number, length: number): void {
    const { shared, metadata, reader } = this.#view;
    const table = this.segments(tag);
    let index = 0;
    let used = 0;
    for (let done = 0; done < length; ) {
      shared.lock.acquire();
      let piece: ReturnType<typeof reader.piece>;
      let left: number;
      try {
        metadata.lookup(offset + done, length - done);
        piece = reader.piece();
        left = metadata.length;
      } finally {
        shared.lock.release();
      }
      for (let within = 0; left > 0; ) {
        const part = Math.min(left, segmentLength(table, index) - used);
        const at = { ...piece, host: piece.host + within };
        if (part > 0) reader.fetch(at, offset + done, segmentAddress(table, index) + used, part);
        done += part;
        within += part;
        left -= part;
        used += part;
        if (used === segmentLength(table, index)) {
          index++;
          used = 0;
        }
      }
    }
  }

  /** Writes part of the disk on the spot, making clusters for what has none. Under the lock. */
  #writePieces(offset: number, length: number, source: Source): void {
    const { metadata } = this.#view;
    for (let done = 0; done < length; ) {
      this.#makeRoom();
      metadata.lookup(offset + done, length - done);
      if (metadata.kind === Mapping.DATA && (metadata.isOwn || metadata.claim(offset + done))) {
        source.write(done, metadata.host, metadata.length);
        done += metadata.length;
      } else done += this.#writeNew(offset + done, metadata.length, done, source);
    }
  }

  /**
   * Writes to clusters that have to be allocated: what the write leaves out of them is copied from what they show now.
   * @param length bytes that are mapped alike
   * @param skip bytes of the request before
   * @returns bytes written
   */
  #writeNew(offset: number, length: number, skip: number, source: Source): number {
    const { shared, metadata } = this.#view;
    const { refcounts } = metadata;
    const cluster = Math.floor(offset / this.#clusterBytes);
    const within = offset - cluster * this.#clusterBytes;
    const wanted = Math.min(metadata.entriesFrom(cluster), Math.ceil((within + length) / this.#clusterBytes));
    metadata.prepareTable(cluster);
    const fileEnd = shared.words[Word.FILE_CLUSTERS] ?? 0;
    const { first, count } = refcounts.allocate(wanted);
    const host = first * this.#clusterBytes;
    const bytes = Math.min(length, count * this.#clusterBytes - within);
    try {
      const isFresh = first >= fileEnd;
      this.#fill(cluster * this.#clusterBytes, within, host, isFresh);
      source.write(skip, host + within, bytes);
      const end = within + bytes;
      const tail = count * this.#clusterBytes - end;
      this.#fill(cluster * this.#clusterBytes + end, tail, host + end, isFresh);
    } catch (error) {
      metadata.undoAllocation(first, count);
      throw error;
    }
    metadata.mapData(cluster, count, host);
    return bytes;
  }

  /** Puts part of a cluster's present contents into its new place. @param isFresh whether that reads as zeroes */
  #fill(offset: number, length: number, host: number, isFresh: boolean): void {
    const { metadata, reader } = this.#view;
    for (let done = 0; done < length; ) {
      metadata.lookup(offset + done, length - done);
      const piece = reader.piece();
      const part = metadata.length;
      if (!reader.isZero(piece, offset + done)) {
        this.#copy ??= mapAnonymous(this.#clusterBytes);
        reader.fetch(piece, offset + done, this.#copy.address, part);
        this.#file.write(host + done, this.#copy.address, part);
      } else if (!isFresh) this.#file.write(host + done, zeroCluster(this.#clusterBytes), part);
      done += part;
    }
  }

  /**
   * Makes whole clusters read as zeroes, and gives their space up unless it is to be kept. Under the lock.
   * @returns those of which the format cannot say that
   */
  #clearClusters(first: number, end: number, keep: boolean): number[] {
    const { metadata, reader } = this.#view;
    const left: number[] = [];
    for (let cluster = first; cluster < end; ) {
      this.#makeRoom();
      const offset = cluster * this.#clusterBytes;
      metadata.lookup(offset, (end - cluster) * this.#clusterBytes);
      const count = Math.floor(metadata.length / this.#clusterBytes);
      const nothing = metadata.kind === Mapping.UNALLOCATED && reader.isZero(reader.piece(), offset);
      if (!nothing) {
        metadata.prepareTable(cluster);
        const most = Math.min(count, metadata.entriesFrom(cluster));
        for (let i = 0; i < most; i++) if (!metadata.zero(cluster + i, keep)) left.push(cluster + i);
        cluster += most;
      } else cluster += count;
    }
    return left;
  }

  /** The cluster that a range of the disk ends before; the disk's last counts as whole. */
  #endCluster(end: number): number {
    const size = this.#view.shared.words[Word.SIZE] ?? 0;
    return end === size ? Math.ceil(end / this.#clusterBytes) : Math.floor(end / this.#clusterBytes);
  }

  /** Writes back when clusters that were given up could no longer be remembered. */
  #makeRoom(): void {
    const { shared } = this.#view;
    const slice = 2 ** shared.capacity.sliceBits / 8;
    if ((shared.words[Word.PENDING] ?? 0) + 3 * slice > MAX_PENDING) this.#writeBack();
  }

  #writeBack(): void {
    const { metadata } = this.#view;
    metadata.writeBack();
    metadata.reclaim(this.#image.punch);
  }

  #refuseIfBroken(): void {
    if (this.#view.shared.words[Word.BROKEN] !== 0)
      throw new ImageIoError("nothing is written to the image any more", Errno.EIO);
  }

  /** Ends a request with an error; a corrupt image is not written to any more. */
  #fail(tag: number, error: unknown): void {
    if (!(error instanceof ImageIoError)) throw error;
    if (error instanceof ImageCorruptError && !this.#image.readonly) this.#giveUpImage(error);
    else log.debug(error.message);
    this.#raw.finish(tag, error.errno);
  }

  #giveUpImage(reason: ImageCorruptError): void {
    const { shared, metadata } = this.#view;
    shared.lock.acquire();
    try {
      if (shared.words[Word.BROKEN] !== 0) return;
      log.error(`${reason.message}: nothing is written to it any more, run qemu-img check`);
      metadata.markCorrupt();
    } catch (error) {
      if (!(error instanceof ImageIoError)) throw error;
      log.error(`the image cannot be marked as corrupt: ${error.message}`);
    } finally {
      shared.lock.release();
    }
  }
}

/** The segments of a request. */
class SegmentSource implements Source {
  readonly #file: ImageFile;
  readonly #table: Uint32Array;

  constructor(file: ImageFile, table: Uint32Array) {
    this.#file = file;
    this.#table = table;
  }

  write(skip: number, host: number, length: number): void {
    let index = 0;
    let ahead = skip;
    for (; ahead >= segmentLength(this.#table, index); index++) ahead -= segmentLength(this.#table, index);
    const vectors = vectorTable();
    for (let done = 0; done < length; ) {
      let count = 0;
      let bytes = 0;
      while (count < MAX_IOVECS && done + bytes < length) {
        const part = Math.min(segmentLength(this.#table, index) - ahead, length - done - bytes);
        setIovec(vectors.u32, count++, segmentAddress(this.#table, index) + ahead, part);
        bytes += part;
        ahead += part;
        if (ahead === segmentLength(this.#table, index)) {
          index++;
          ahead = 0;
        }
      }
      this.#file.writev(host + done, vectors, count, bytes);
      done += bytes;
    }
  }
}

class ZeroSource implements Source {
  readonly #file: ImageFile;
  readonly #clusterBytes: number;

  constructor(file: ImageFile, clusterBytes: number) {
    this.#file = file;
    this.#clusterBytes = clusterBytes;
  }

  write(_skip: number, host: number, length: number): void {
    for (let done = 0; done < length; done += this.#clusterBytes)
      this.#file.write(host + done, zeroCluster(this.#clusterBytes), Math.min(this.#clusterBytes, length - done));
  }
}

let vectorMemory: MemoryBlock | undefined;

function vectorTable(): MemoryBlock {
  vectorMemory ??= mapAnonymous(MAX_IOVECS * IOVEC_WORDS * 4);
  return vectorMemory;
}

const segmentAddress = (table: Uint32Array, index: number): number =>
  (table[index * IOVEC_WORDS] ?? 0) + (table[index * IOVEC_WORDS + 1] ?? 0) * 0x1_0000_0000;

const segmentLength = (table: Uint32Array, index: number): number => table[index * IOVEC_WORDS + 2] ?? 0;
