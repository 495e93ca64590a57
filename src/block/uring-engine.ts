import { IoUringOp } from "../host/io-uring/abi.ts";
import { IoUring } from "../host/io-uring/io-uring.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import type { IoEngine } from "./engine.ts";

/** Watches are told from requests by this bit of their tag. */
const WATCH = 0x8000_0000;
/** Requests that go to the kernel in one call at most; further ones take another call. */
const MAX_BATCH = 256;

/**
 * Copies from and to the page cache take place in the thread that submits, unless they are this large: then workers of the
 * kernel do them, side by side, and small requests need not wait behind them.
 */
const OFFLOAD_BYTES = 256 * 1024;

/** Asynchronous I/O through io_uring. */
export class UringEngine implements IoEngine {
  tag = 0;
  result = 0;
  readonly #ring: IoUring;
  readonly #iovecs: MemoryBlock;
  readonly #offloadBytes: number;
  readonly #watched: number[] = [];

  /**
   * @param tags requests that may be under way at once
   * @param iovecs the memory where all iovecs of requests lie
   * @param cached whether requests copy from and to the host's page cache
   * @throws IoUringUnavailableError
   */
  constructor(tags: number, iovecs: MemoryBlock, cached: boolean) {
    this.#offloadBytes = cached ? OFFLOAD_BYTES : Number.POSITIVE_INFINITY;
    this.#ring = new IoUring(Math.min(tags, MAX_BATCH), tags * 2);
    this.#iovecs = iovecs;
    try {
      this.#ring.require(Object.values(IoUringOp));
    } catch (error) {
      this.#ring.close();
      throw error;
    }
  }

  read(fd: number, iovecs: number, count: number, length: number, offset: number, tag: number): void {
    const offload = length >= this.#offloadBytes;
    this.#makeRoom();
    if (count !== 1) this.#ring.readv(fd, iovecs, count, offset, tag, offload);
    else this.#ring.read(fd, this.#address(iovecs), this.#length(iovecs), offset, tag, offload);
  }

  write(fd: number, iovecs: number, count: number, length: number, offset: number, tag: number): void {
    const offload = length >= this.#offloadBytes;
    this.#makeRoom();
    if (count !== 1) this.#ring.writev(fd, iovecs, count, offset, tag, offload);
    else this.#ring.write(fd, this.#address(iovecs), this.#length(iovecs), offset, tag, offload);
  }

  sync(fd: number, tag: number): void {
    this.#makeRoom();
    this.#ring.sync(fd, tag);
  }

  watch(eventFd: number): void {
    this.#watched.push(eventFd);
    this.#rewatch(this.#watched.length - 1);
  }

  wait(block: boolean): void {
    this.#ring.enter(block ? 1 : 0);
  }

  next(): boolean {
    const ring = this.#ring;
    while (ring.next()) {
      if (ring.tag < WATCH) {
        this.tag = ring.tag;
        this.result = ring.result;
        return true;
      }
      // The kernel ends a watch when it runs out of room for completions.
      if (!ring.more) this.#rewatch(ring.tag - WATCH);
    }
    return false;
  }

  close(): void {
    this.#ring.close();
  }

  #rewatch(index: number): void {
    const eventFd = this.#watched[index];
    if (eventFd === undefined) return;
    this.#makeRoom();
    this.#ring.watch(eventFd, WATCH + index);
  }

  #makeRoom(): void {
    if (!this.#ring.hasRoom(1)) this.#ring.enter(0);
  }

  #address(iovec: number): number {
    const words = this.#iovecs.u32;
    const at = (iovec - this.#iovecs.address) / 4;
    return (words[at] ?? 0) + (words[at + 1] ?? 0) * 0x1_0000_0000;
  }

  #length(iovec: number): number {
    return this.#iovecs.u32[(iovec - this.#iovecs.address) / 4 + 2] ?? 0;
  }
}
