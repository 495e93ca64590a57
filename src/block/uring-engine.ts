import { IoUringOp } from "../host/io-uring/abi.ts";
import { IoUring } from "../host/io-uring/io-uring.ts";
import { errno, libc } from "../host/libc.ts";
import { Completions } from "./completions.ts";
import type { IoEngine } from "./engine.ts";

/** Watches are told from requests by this bit of their tag. */
const WATCH = 0x8000_0000;
/** Requests that go to the kernel in one call at most; further ones take another call. */
const MAX_BATCH = 256;

const { READ, READV, WRITE, WRITEV, FSYNC, POLL_ADD } = IoUringOp;
const OPERATIONS = [READ, READV, WRITE, WRITEV, FSYNC, POLL_ADD];

/** Copies from and to the page cache that are this large may be handed over to workers of the kernel, which make them side by side. */
const LARGE_BYTES = 256 * 1024;
/** What the submitting thread copies itself of large ones at once: small requests wait behind it. */
const MAX_COPIED_BYTES = 8 << 20;
/** A thread that copies faster than this has nothing to gain from others. */
const FAST_BYTES_PER_MS = (6 * 2 ** 30) / 1000;
/** Large copies that are handed over after slow ones, before the thread tries again. */
const LARGE_AFTER_SLOW = 64;

/**
 * Writes to the page cache up to this size are made by a system call of the thread itself: file systems such as ext4 cannot tell
 * beforehand whether one has to wait, so io_uring hands each to a worker of the kernel, which takes longer than the write.
 */
const DIRECT_WRITE_BYTES = 64 * 1024;
/** When such a write takes this long it had to wait: the cache holds as many dirty pages as it may, or read the rest of a page. */
const SLOW_WRITE_MS = 1;
/** So many writes after a slow one are handed over, so that other requests need not wait with the thread. */
const WRITES_AFTER_SLOW = 64;

/** Asynchronous I/O through io_uring. */
export class UringEngine implements IoEngine {
  tag = 0;
  result = 0;
  readonly #ring: IoUring;
  readonly #largeBytes: number;
  readonly #directWriteBytes: number;
  /** Writes that the thread itself has made. */
  readonly #done: Completions;
  /** Writes to be handed over before the thread makes one again. */
  #writesToHandOver = 0;
  /** Large copies to be handed over before the thread makes one again. */
  #largeToHandOver = 0;
  /** Bytes of large copies that the thread makes itself when it enters the ring next. */
  #copied = 0;
  readonly #watched: number[] = [];
  readonly #now: () => number;
  /** Requests that the ring has. */
  #inRing = 0;
  /** What the ring had completed when the thread was last let go on: signals among that ended its wait. */
  #wokenAt = 0;
  /** Watches that the kernel has ended, to be made again. */
  readonly #ended: number[] = [];
  /** A signal has been taken that ended no wait, so that the thread may not have looked for what it tells: it ends the next one. */
  #signalled = false;

  /**
   * @param tags requests that may be under way at once
   * @param cached whether requests copy from and to the host's page cache
   * @param now a clock, in milliseconds
   * @throws IoUringUnavailableError
   */
  constructor(tags: number, cached: boolean, now = () => performance.now()) {
    this.#now = now;
    this.#largeBytes = cached ? LARGE_BYTES : Number.POSITIVE_INFINITY;
    this.#directWriteBytes = cached ? DIRECT_WRITE_BYTES : 0;
    this.#done = new Completions(tags);
    this.#ring = new IoUring(Math.min(tags, MAX_BATCH), tags * 2, OPERATIONS);
  }

  read(fd: number, iovecs: number, count: number, buffer: number, length: number, offset: number, tag: number): void {
    this.#inRing++;
    this.#makeRoom();
    const offload = length >= this.#largeBytes && this.#handsOver(length);
    if (count !== 1) this.#ring.readv(fd, iovecs, count, offset, tag, offload);
    else this.#ring.read(fd, buffer, length, offset, tag, offload);
  }

  write(fd: number, iovecs: number, count: number, buffer: number, length: number, offset: number, tag: number): void {
    if (length <= this.#directWriteBytes && this.#writeDirectly(fd, iovecs, count, offset, tag)) return;
    this.#inRing++;
    this.#makeRoom();
    const offload = length >= this.#largeBytes && this.#handsOver(length);
    if (count !== 1) this.#ring.writev(fd, iovecs, count, offset, tag, offload);
    else this.#ring.write(fd, buffer, length, offset, tag, offload);
  }

  sync(fd: number, tag: number): void {
    this.#inRing++;
    this.#makeRoom();
    this.#ring.sync(fd, tag);
  }

  watch(eventFd: number): void {
    this.#watched.push(eventFd);
    this.#rewatch(this.#watched.length - 1);
  }

  wait(block: boolean): void {
    const ring = this.#ring;
    for (let index = this.#ended.pop(); index !== undefined; index = this.#ended.pop()) this.#rewatch(index);
    if (block && this.#done.count === 0 && !this.#signalled) this.#enter(1);
    else if (this.#inRing > 0 || ring.unsubmitted > 0) this.#enter(0);
    if (!block) return;
    this.#signalled = false;
    this.#wokenAt = ring.completed;
  }

  next(): boolean {
    const done = this.#done;
    if (done.take()) {
      this.tag = done.tag;
      this.result = done.result;
      return true;
    }
    const ring = this.#ring;
    while (ring.next()) {
      if (ring.tag < WATCH) {
        this.#inRing--;
        this.tag = ring.tag;
        this.result = ring.result;
        return true;
      }
      if (((ring.taken - this.#wokenAt) | 0) > 0) this.#signalled = true;
      // The kernel ends a watch when it runs out of room for completions.
      if (!ring.more) this.#rewatch(ring.tag - WATCH);
    }
    return false;
  }

  close(): void {
    this.#ring.close();
  }

  /** @returns whether the write is done; if not, it is to be handed over */
  #writeDirectly(fd: number, iovecs: number, count: number, offset: number, tag: number): boolean {
    if (this.#writesToHandOver > 0) {
      this.#writesToHandOver--;
      return false;
    }
    const begun = this.#now();
    const written = libc.pwritev(fd, iovecs, count, offset);
    this.#done.add(tag, written < 0 ? -errno() : written);
    if (this.#now() - begun >= SLOW_WRITE_MS) this.#writesToHandOver = WRITES_AFTER_SLOW;
    return true;
  }

  /** Whether a large copy is made by a worker of the kernel, and not when the thread enters the ring next. */
  #handsOver(length: number): boolean {
    if (this.#largeToHandOver > 0) {
      this.#largeToHandOver--;
      return true;
    }
    if (this.#copied + length > MAX_COPIED_BYTES) return true;
    this.#copied += length;
    return false;
  }

  #enter(completions: number): void {
    const copied = this.#copied;
    if (copied === 0) {
      this.#ring.enter(completions);
      return;
    }
    this.#copied = 0;
    const begun = this.#now();
    this.#ring.enter(completions);
    if ((this.#now() - begun) * FAST_BYTES_PER_MS > copied) this.#largeToHandOver = LARGE_AFTER_SLOW;
  }

  #rewatch(index: number): void {
    const eventFd = this.#watched[index];
    if (eventFd === undefined) return;
    this.#makeRoom();
    this.#ring.watch(eventFd, WATCH + index);
  }

  #makeRoom(): void {
    const ring = this.#ring;
    while (!ring.hasRoom(1)) {
      this.#enter(0);
      // The kernel takes nothing until completions have been taken.
      while (!ring.hasRoom(1) && ring.next())
        if (ring.tag < WATCH) {
          this.#inRing--;
          this.#done.add(ring.tag, ring.result);
        } else {
          this.#signalled = true;
          if (!ring.more) this.#ended.push(ring.tag - WATCH);
        }
    }
  }
}
