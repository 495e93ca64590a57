import { Errno } from "../host/errno.ts";
import { IOVEC_WORDS, iovec, MAX_IOVECS, segmentAddress, segmentLength, setIovec } from "../host/iovec.ts";
import { errno, libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { munmap } from "../host/mmap.ts";
import { Bounce, MAX_BOUNCE_BYTES } from "./bounce.ts";
import { Completions } from "./completions.ts";
import type { Disk } from "./disk.ts";
import type { RawFile } from "./disk-image.ts";
import type { IoEngine } from "./engine.ts";
import { discardRange, zeroRange } from "./sparse.ts";

const READ = 1;
const WRITE = 2;
const SYNC = 3;

/** A raw image: the disk's bytes are the file's. */
export class RawDisk implements Disk {
  readonly tags: number;
  underWay = 0;
  tag = 0;
  error = 0;
  readonly #image: RawFile;
  readonly #engine: IoEngine;
  readonly #iovecs: MemoryBlock;
  readonly #segments: number;
  readonly #tables: (Uint32Array | undefined)[];

  /** Of the request under each tag: what it is, and what of it is left to do. */
  readonly #kinds: Uint8Array;
  readonly #offsets: Float64Array;
  readonly #left: Float64Array;
  readonly #firsts: Uint32Array;
  readonly #counts: Uint32Array;

  /** Aligned copies of the data of requests whose memory is not aligned. */
  readonly #bounces = new Map<number, Bounce>();

  /** Requests that were done on the spot, and their errors. */
  readonly #done: Completions;

  /**
   * @param engine moves the bytes; closed with the disk
   * @param iovecs memory for `tags` times `segments` struct iovec, given back with the disk
   * @param segments the most that a request has
   */
  constructor(image: RawFile, engine: IoEngine, iovecs: MemoryBlock, tags: number, segments: number) {
    this.#image = image;
    this.#engine = engine;
    this.#iovecs = iovecs;
    this.#segments = segments;
    this.tags = tags;
    this.#tables = new Array<undefined>(tags).fill(undefined);
    this.#kinds = new Uint8Array(tags);
    this.#offsets = new Float64Array(tags);
    this.#left = new Float64Array(tags);
    this.#firsts = new Uint32Array(tags);
    this.#counts = new Uint32Array(tags);
    this.#done = new Completions(tags);
  }

  segments(tag: number): Uint32Array {
    let table = this.#tables[tag];
    if (table === undefined) {
      const words = this.#segments * IOVEC_WORDS;
      table = this.#iovecs.u32.subarray(tag * words, (tag + 1) * words);
      this.#tables[tag] = table;
    }
    return table;
  }

  read(tag: number, offset: number, length: number, count: number): void {
    this.#start(READ, tag, offset, length, count);
  }

  write(tag: number, offset: number, length: number, count: number): void {
    this.#start(WRITE, tag, offset, length, count);
  }

  flush(tag: number): void {
    this.underWay++;
    this.#kinds[tag] = SYNC;
    this.#engine.sync(this.#image.fd, tag);
  }

  discard(tag: number, offset: number, length: number): void {
    const { cachedFd, isDevice } = this.#image;
    this.underWay++;
    this.#done.add(tag, discardRange(cachedFd, isDevice, offset, length));
  }

  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void {
    const { cachedFd, isDevice } = this.#image;
    this.underWay++;
    this.#done.add(tag, zeroRange(cachedFd, isDevice, offset, length, mayUnmap));
  }

  /** Takes a request that was carried out elsewhere, for `next` to give back. @param error 0 or an errno */
  finish(tag: number, error: number): void {
    this.underWay++;
    this.#done.add(tag, error);
  }

  watch(eventFd: number): void {
    this.#engine.watch(eventFd);
  }

  wait(block: boolean): void {
    this.#engine.wait(block && this.#done.count === 0);
  }

  next(): boolean {
    const done = this.#done;
    if (done.take()) {
      this.tag = done.tag;
      this.error = done.result;
      this.underWay--;
      return true;
    }
    const engine = this.#engine;
    while (engine.next()) {
      if (!this.#finish(engine.tag, engine.result)) continue;
      this.underWay--;
      return true;
    }
    return false;
  }

  close(): void {
    this.#engine.close();
    munmap(this.#iovecs.address, this.#iovecs.size);
  }

  #start(kind: number, tag: number, offset: number, length: number, count: number): void {
    this.underWay++;
    this.#kinds[tag] = kind;
    this.#offsets[tag] = offset;
    this.#left[tag] = length;
    this.#firsts[tag] = 0;
    this.#counts[tag] = count;
    const { alignment } = this.#image;
    if (alignment > 1) {
      const aligned = offset % alignment === 0 && length % alignment === 0;
      const alignedMemory = this.#isAligned(tag, count, alignment);
      if (!aligned || (!alignedMemory && length > MAX_BOUNCE_BYTES)) {
        this.#transferCached(kind, tag);
        return;
      }
      if (!alignedMemory) this.#bounce(kind, tag, length, count);
    }
    this.#submit(kind, tag);
  }

  /** Hands what is left of a request to the engine, as much as one call takes. */
  #submit(kind: number, tag: number): void {
    const { fd } = this.#image;
    const offset = this.#offsets[tag] ?? 0;
    const first = this.#firsts[tag] ?? 0;
    const count = Math.min(this.#counts[tag] ?? 0, MAX_IOVECS);
    const iovecs = this.#iovecs.address + (tag * this.#segments + first) * iovec.size;
    const buffer = segmentAddress(this.segments(tag), first);
    const left = this.#left[tag] ?? 0;
    if (kind === READ) this.#engine.read(fd, iovecs, count, buffer, left, offset, tag);
    else this.#engine.write(fd, iovecs, count, buffer, left, offset, tag);
  }

  /** Takes a result of the engine. @returns whether the request is over, in `tag` and `error` */
  #finish(tag: number, result: number): boolean {
    const kind = this.#kinds[tag] ?? 0;
    let error = result < 0 ? -result : 0;
    if (error === 0 && kind !== SYNC) {
      const left = (this.#left[tag] ?? 0) - result;
      if (left > 0 && result > 0) {
        this.#advance(tag, result);
        this.#submit(kind, tag);
        return false;
      }
      if (left > 0) {
        if (kind === READ && this.#image.endsInZeroes) this.#zeroRest(tag);
        // The image has become shorter than the disk.
        else error = Errno.EIO;
      }
    } else if (error === Errno.EINTR && kind !== SYNC) {
      this.#submit(kind, tag);
      return false;
    }
    const bounce = this.#bounces.size === 0 ? undefined : this.#bounces.get(tag);
    if (bounce !== undefined) {
      this.#bounces.delete(tag);
      if (kind === READ && error === 0) bounce.copyOut();
      bounce.close();
    }
    this.tag = tag;
    this.error = error;
    return true;
  }

  /** Takes `bytes` that were moved off what is left of a request. */
  #advance(tag: number, bytes: number): void {
    const table = this.segments(tag);
    let first = this.#firsts[tag] ?? 0;
    let ahead = bytes;
    for (let length = segmentLength(table, first); ahead >= length; length = segmentLength(table, first)) {
      ahead -= length;
      first++;
      if (ahead === 0) break;
    }
    if (ahead > 0) setIovec(table, first, segmentAddress(table, first) + ahead, segmentLength(table, first) - ahead);
    this.#counts[tag] = (this.#counts[tag] ?? 0) - (first - (this.#firsts[tag] ?? 0));
    this.#firsts[tag] = first;
    this.#offsets[tag] = (this.#offsets[tag] ?? 0) + bytes;
    this.#left[tag] = (this.#left[tag] ?? 0) - bytes;
  }

  /** Fills what a read has left to do. */
  #zeroRest(tag: number): void {
    const table = this.segments(tag);
    const first = this.#firsts[tag] ?? 0;
    for (let i = first; i < first + (this.#counts[tag] ?? 0); i++)
      libc.memset(segmentAddress(table, i), 0, segmentLength(table, i));
  }

  #isAligned(tag: number, count: number, alignment: number): boolean {
    const table = this.segments(tag);
    for (let i = 0; i < count; i++)
      if (segmentAddress(table, i) % alignment !== 0 || segmentLength(table, i) % alignment !== 0) return false;
    return true;
  }

  /** Makes the request one of aligned memory, that is copied from or to the guest's. */
  #bounce(kind: number, tag: number, length: number, count: number): void {
    const table = this.segments(tag);
    const bounce = new Bounce(table.slice(0, count * IOVEC_WORDS), length);
    if (kind === WRITE) bounce.copyIn();
    this.#bounces.set(tag, bounce);
    setIovec(table, 0, bounce.address, length);
    this.#counts[tag] = 1;
  }

  /**
   * Does at once, through the host's page cache, what is not done directly: a range that does not begin and end with a unit of
   * direct I/O, and more memory that is not aligned than is bounced. Before a direct request the kernel writes back what the
   * cache holds of its range; it can fail a direct write on a page that is changed in the cache at that moment.
   */
  #transferCached(kind: number, tag: number): void {
    const { cachedFd } = this.#image;
    for (;;) {
      const iovecs = this.#iovecs.address + (tag * this.#segments + (this.#firsts[tag] ?? 0)) * iovec.size;
      const count = Math.min(this.#counts[tag] ?? 0, MAX_IOVECS);
      const offset = this.#offsets[tag] ?? 0;
      const moved =
        kind === READ ? libc.preadv(cachedFd, iovecs, count, offset) : libc.pwritev(cachedFd, iovecs, count, offset);
      if (moved < 0) {
        const error = errno();
        if (error === Errno.EINTR) continue;
        this.#done.add(tag, error);
        return;
      }
      if (moved === 0) {
        const isEnd = kind === READ && this.#image.endsInZeroes;
        if (isEnd) this.#zeroRest(tag);
        this.#done.add(tag, isEnd ? 0 : Errno.EIO);
        return;
      }
      if (moved >= (this.#left[tag] ?? 0)) {
        this.#done.add(tag, 0);
        return;
      }
      this.#advance(tag, moved);
    }
  }
}
