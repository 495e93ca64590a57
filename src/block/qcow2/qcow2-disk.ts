import { Errno } from "../../host/errno.ts";
import { logger } from "../../threads/log.ts";
import { imageFileOf } from "../direct-image-file.ts";
import type { Disk } from "../disk.ts";
import { type ImageFile, ImageIoError } from "../image-file.ts";
import type { RawDisk } from "../raw-disk.ts";
import { type DeferringSource, SegmentCursor } from "../segments.ts";
import { SplitRequests } from "../split-requests.ts";
import { ClusterFiller } from "./cluster-filler.ts";
import { dataFileOf, type Qcow2Image, type Qcow2View, viewOf } from "./image.ts";
import { Mapping } from "./metadata.ts";
import { ImageCorruptError } from "./refcounts.ts";
import { MAX_PENDING, MAX_TAGS, Word } from "./shared.ts";
import { RequestSource, ZeroSource } from "./write-sources.ts";

const log = logger("qcow2");

/** Clusters that one request clears before others of the image get their turn. */
const CLUSTERS_PER_TURN = 1024;

/** One thread's access to a qcow2 image. @param raw the file of its data */
export function openQcow2Disk(image: Qcow2Image, raw: RawDisk, queue: number): Disk {
  const file = imageFileOf(image);
  const data = dataFileOf(image, file);
  return new Qcow2Disk(image, viewOf(image, file, data), data, raw, queue);
}

/**
 * A qcow2 image for one thread. Runs of data clusters, new ones included, go to the file as a raw disk's requests do, at their
 * place there; all else - zeroes, compressed clusters, what backing files hold - is done on the spot.
 */
export class Qcow2Disk implements Disk {
  readonly #image: Qcow2Image;
  readonly #raw: RawDisk;
  readonly #file: ImageFile;
  readonly #view: Qcow2View;
  /** The first element of this queue in the shared table of requests. */
  readonly #firstRequest: number;
  readonly #requests: SplitRequests;
  readonly #source: RequestSource;
  readonly #filler: ClusterFiller;
  readonly #clusterBytes: number;
  readonly #unitBytes: number;
  /** By tag: whether the request is a flush. */
  readonly #isFlush: Uint8Array;
  #toldBroken = false;

  /**
   * @param queue number of the queue that this thread serves
   * @param file that of the data, as `raw` is, with `OPERATIONS_PER_REQUEST` tags for each request
   */
  constructor(image: Qcow2Image, view: Qcow2View, file: ImageFile, raw: RawDisk, queue: number) {
    this.#image = image;
    this.#view = view;
    this.#file = file;
    this.#raw = raw;
    this.#firstRequest = queue * MAX_TAGS;
    this.#requests = new SplitRequests(raw);
    this.#source = new RequestSource(file, this.#requests);
    this.#filler = new ClusterFiller(view, file);
    this.#clusterBytes = view.metadata.clusterBytes;
    this.#unitBytes = view.metadata.unitBytes;
    this.#isFlush = new Uint8Array(this.#requests.tags);
  }

  get tags(): number {
    return this.#requests.tags;
  }

  get underWay(): number {
    return this.#requests.underWay;
  }

  get tag(): number {
    return this.#requests.tag;
  }

  get error(): number {
    return this.#requests.error;
  }

  segments(tag: number): Uint32Array {
    return this.#raw.segments(tag);
  }

  read(tag: number, offset: number, length: number, count: number): void {
    const { shared, metadata } = this.#view;
    this.#requests.begin(tag, length, count);
    try {
      for (let done = 0; done < length; ) {
        shared.lock.acquire();
        try {
          metadata.lookup(offset + done, length - done);
          if (done === 0) this.#enter(tag);
        } finally {
          shared.lock.release();
        }
        const part = metadata.length;
        if (metadata.kind !== Mapping.DATA || !this.#requests.add(done, metadata.host, part))
          this.#fetch(tag, offset + done, done, part);
        done += part;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#requests.start("read");
  }

  write(tag: number, offset: number, length: number, count: number): void {
    this.#requests.begin(tag, length, count);
    this.#source.table = this.segments(tag);
    const started = this.#underLock(() => {
      this.#enter(tag);
      this.#writePieces(offset, length, this.#source);
    });
    if (started) this.#requests.start("write");
  }

  flush(tag: number): void {
    const { metadata } = this.#view;
    let isClean = false;
    this.#requests.begin(tag, 0, 0);
    const ended = this.#underLock(() => {
      isClean = !metadata.isDirty;
      if (!isClean) this.#writeBack();
    });
    if (!ended) return;
    if (isClean) {
      this.#isFlush[tag] = 1;
      this.#requests.flush(tag);
    } else this.#requests.finish(tag, 0);
  }

  discard(tag: number, offset: number, length: number): void {
    const first = Math.ceil(offset / this.#unitBytes);
    const end = this.#endUnit(offset + length);
    this.#requests.begin(tag, 0, 0);
    // What the format cannot make zeroes stays: a discard is a hint.
    const turn = CLUSTERS_PER_TURN * (this.#clusterBytes / this.#unitBytes);
    for (let unit = first; unit < end; unit += turn)
      if (!this.#underLock(() => this.#clearUnits(unit, Math.min(unit + turn, end), false))) return;
    this.#requests.finish(tag, 0);
  }

  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void {
    this.#requests.begin(tag, 0, 0);
    const end = offset + length;
    const turn = CLUSTERS_PER_TURN * this.#clusterBytes;
    for (let from = offset; from < end; ) {
      const to = Math.min(end, from - (from % turn) + turn);
      if (!this.#underLock(() => this.#zeroRange(from, to, mayUnmap))) return;
      from = to;
    }
    this.#requests.finish(tag, 0);
  }

  watch(eventFd: number): void {
    this.#raw.watch(eventFd);
  }

  wait(block: boolean): void {
    this.#raw.wait(block);
  }

  next(): boolean {
    if (!this.#requests.next()) return false;
    const { tag, error } = this.#requests;
    const { requests, words } = this.#view.shared;
    requests[this.#firstRequest + tag] = 0;
    // The kernel tells of writes that it lost only once, and they may have been of metadata that another queue counts on.
    if (this.#isFlush[tag] === 1 && error !== 0) words[Word.BROKEN] = 1;
    this.#isFlush[tag] = 0;
    return true;
  }

  close(): void {
    this.#raw.close();
    this.#filler.close();
    this.#view.reader.close();
  }

  /** Has clusters that the request was told of stay what they are until it is over. Under the lock. */
  #enter(tag: number): void {
    const { requests, words } = this.#view.shared;
    requests[this.#firstRequest + tag] = (words[Word.GENERATION] ?? 0) + 1;
  }

  /** Makes a change under the lock. A failure ends the request that was begun. @returns whether there was none */
  #underLock(change: () => unknown): boolean {
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
      this.#fail(error);
      return false;
    }
  }

  #zeroRange(offset: number, end: number, mayUnmap: boolean): void {
    const zeroes = new ZeroSource(this.#file, this.#clusterBytes);
    const first = Math.ceil(offset / this.#unitBytes);
    const last = this.#endUnit(end);
    const head = Math.min(end, first * this.#unitBytes);
    if (head > offset) this.#writePieces(offset, head - offset, zeroes);
    for (const unit of this.#clearUnits(first, last, !mayUnmap))
      this.#writePieces(unit * this.#unitBytes, this.#unitBytes, zeroes);
    const tail = Math.max(head, last * this.#unitBytes);
    if (tail < end) this.#writePieces(tail, end - tail, zeroes);
  }

  /** Reads on the spot a part of a request that `lookup` has found. @param skip bytes of the request before it */
  #fetch(tag: number, offset: number, skip: number, length: number): void {
    const { reader } = this.#view;
    const piece = reader.piece();
    const segments = new SegmentCursor(this.segments(tag));
    segments.take(skip, ignore);
    segments.take(length, (address, part, within) =>
      reader.fetch({ ...piece, host: piece.host + within }, offset + within, address, part),
    );
  }

  /** Writes part of the disk, making clusters for what has none. Under the lock. */
  #writePieces(offset: number, length: number, source: DeferringSource): void {
    const { metadata } = this.#view;
    for (let done = 0; done < length; ) {
      this.#makeRoom();
      metadata.lookup(offset + done, length - done);
      if (metadata.kind === Mapping.DATA && (metadata.isOwn || metadata.claim(offset + done))) {
        source.defer(done, metadata.host, metadata.length);
        done += metadata.length;
      } else if (metadata.hasPlace && (metadata.isOwn || metadata.claim(offset + done)))
        done += this.#writeInPlace(offset + done, metadata.length, done, source);
      else done += this.#writeNew(offset + done, metadata.length, done, source);
    }
  }

  /**
   * Writes to units that have no data and have a place, which may hold anything: so it is written before anything says that data
   * is there. What the write leaves out of them is copied from what they show now.
   * @param length bytes that are mapped alike
   * @param skip bytes of the request before
   * @returns bytes written
   */
  #writeInPlace(offset: number, length: number, skip: number, source: DeferringSource): number {
    const { metadata } = this.#view;
    const { host } = metadata;
    const within = offset % this.#clusterBytes;
    const cluster = (offset - within) / this.#clusterBytes;
    const bytes = Math.min(length, metadata.entriesFrom(cluster) * this.#clusterBytes - within);
    const end = offset + bytes;
    metadata.prepareTable(cluster);
    const first = this.#unitStart(offset);
    const last = this.#unitEnd(end);
    this.#filler.fill(first, offset - first, host + first - offset, false);
    source.write(skip, host, bytes);
    this.#filler.fill(end, last - end, host + bytes, false);
    metadata.mapData(first, last, host - within);
    return bytes;
  }

  /**
   * Writes to clusters that have to be allocated: what the write leaves out of them is copied from what they show now.
   * @param length bytes that are mapped alike
   * @param skip bytes of the request before
   * @returns bytes written
   */
  #writeNew(offset: number, length: number, skip: number, source: DeferringSource): number {
    const { shared, metadata, reader } = this.#view;
    const showsZeroes = reader.isZero(metadata, offset);
    const { refcounts } = metadata;
    const cluster = Math.floor(offset / this.#clusterBytes);
    const within = offset - cluster * this.#clusterBytes;
    const wanted = Math.min(metadata.entriesFrom(cluster), Math.ceil((within + length) / this.#clusterBytes));
    metadata.prepareTable(cluster);
    const fileEnd = shared.words[Word.FILE_CLUSTERS] ?? 0;
    const { first, count } = refcounts.allocate(wanted);
    const host = first * this.#clusterBytes;
    const bytes = Math.min(length, count * this.#clusterBytes - within);
    const firstUnit = this.#unitStart(offset);
    const lastUnit = this.#unitEnd(offset + bytes);
    try {
      const isFresh = first >= fileEnd;
      const start = cluster * this.#clusterBytes;
      this.#filler.keep(start, firstUnit - start, host);
      this.#filler.fill(firstUnit, offset - firstUnit, host + firstUnit - start, isFresh);
      // Until the data is there, new clusters at the file's end show what the disk showed before, whenever the power fails.
      // All else must be written before anything can refer to it.
      if (isFresh && showsZeroes) {
        shared.words[Word.DEFERRED] = 1;
        source.defer(skip, host + within, bytes);
      } else source.write(skip, host + within, bytes);
      this.#filler.fill(offset + bytes, lastUnit - offset - bytes, host + within + bytes, isFresh);
      this.#filler.keep(lastUnit, start + count * this.#clusterBytes - lastUnit, host + lastUnit - start);
    } catch (error) {
      metadata.undoAllocation(first, count);
      throw error;
    }
    metadata.mapData(firstUnit, lastUnit, host);
    return bytes;
  }

  /**
   * Makes whole units read as zeroes, and gives their space up unless it is to be kept. Under the lock.
   * @returns those of which the format cannot say that
   */
  #clearUnits(first: number, end: number, keep: boolean): number[] {
    const { metadata, reader } = this.#view;
    const left: number[] = [];
    const units = this.#clusterBytes / this.#unitBytes;
    for (let unit = first; unit < end; ) {
      this.#makeRoom();
      const offset = unit * this.#unitBytes;
      metadata.lookup(offset, (end - unit) * this.#unitBytes);
      const next = unit + Math.floor(metadata.length / this.#unitBytes);
      if (metadata.kind === Mapping.UNALLOCATED && reader.isZero(reader.piece(), offset)) {
        unit = next;
        continue;
      }
      const cluster = Math.floor(unit / units);
      metadata.prepareTable(cluster);
      const until = Math.min(next, (cluster + metadata.entriesFrom(cluster)) * units);
      while (unit < until) {
        const count = metadata.zero(unit, until - unit, keep);
        if (count === 0) left.push(unit);
        unit += Math.max(1, count);
      }
    }
    return left;
  }

  /** The unit that a range of the disk ends before; the disk's last cluster counts as whole. */
  #endUnit(end: number): number {
    const size = this.#view.shared.words[Word.SIZE] ?? 0;
    if (end !== size) return Math.floor(end / this.#unitBytes);
    return Math.ceil(end / this.#clusterBytes) * (this.#clusterBytes / this.#unitBytes);
  }

  #unitStart(offset: number): number {
    return offset - (offset % this.#unitBytes);
  }

  #unitEnd(offset: number): number {
    return Math.ceil(offset / this.#unitBytes) * this.#unitBytes;
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
    metadata.givenUp.reclaim(this.#image.punch);
  }

  #refuseIfBroken(): void {
    if (this.#view.shared.words[Word.BROKEN] !== 0)
      throw new ImageIoError("nothing is written to the image any more", Errno.EIO);
  }

  /** Ends the request that was begun with an error; a corrupt image is not written to any more. */
  #fail(error: unknown): void {
    if (!(error instanceof ImageIoError)) throw error;
    if (error instanceof ImageCorruptError && !this.#image.readonly) this.#giveUpImage(error);
    else this.#tell(error);
    this.#requests.abandon(error.errno);
  }

  #tell({ message }: ImageIoError): void {
    const isBroken = this.#view.shared.words[Word.BROKEN] !== 0;
    if (isBroken && !this.#toldBroken) log.error(`${message}: nothing is written to the image any more`);
    else log.debug(message);
    this.#toldBroken = isBroken;
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

const ignore = (): void => undefined;
