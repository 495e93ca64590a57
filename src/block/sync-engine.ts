import { Epoll, EpollEvent } from "../host/epoll.ts";
import { Errno } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import type { IoEngine } from "./engine.ts";

/** I/O by system calls that do it at once, where there is no io_uring. */
export class SyncEngine implements IoEngine {
  tag = 0;
  result = 0;
  readonly #epoll = new Epoll();
  /** Completions as a ring: tags and results. A tag is under way at most once, so it cannot overflow. */
  readonly #tags: Uint32Array;
  readonly #results: Int32Array;
  #head = 0;
  #count = 0;

  /**
   * @param tags requests that may be under way at once
   * @throws SysError
   */
  constructor(tags: number) {
    this.#tags = new Uint32Array(tags);
    this.#results = new Int32Array(tags);
  }

  read(fd: number, iovecs: number, count: number, _length: number, offset: number, tag: number): void {
    let result: number;
    do result = libc.preadv(fd, iovecs, count, offset);
    while (result < 0 && errno() === Errno.EINTR);
    this.#complete(tag, result);
  }

  write(fd: number, iovecs: number, count: number, _length: number, offset: number, tag: number): void {
    let result: number;
    do result = libc.pwritev(fd, iovecs, count, offset);
    while (result < 0 && errno() === Errno.EINTR);
    this.#complete(tag, result);
  }

  sync(fd: number, tag: number): void {
    let result: number;
    do result = libc.fdatasync(fd);
    while (result < 0 && errno() === Errno.EINTR);
    this.#complete(tag, result);
  }

  watch(eventFd: number): void {
    // Edge-triggered: each signal is one event, though nobody reads the eventfd.
    this.#epoll.add(eventFd, 0, EpollEvent.IN | EpollEvent.ET);
  }

  wait(block: boolean): void {
    if (block && this.#count === 0) this.#epoll.wait(-1, ignore);
  }

  next(): boolean {
    if (this.#count === 0) return false;
    this.tag = this.#tags[this.#head] ?? 0;
    this.result = this.#results[this.#head] ?? 0;
    this.#head = (this.#head + 1) % this.#tags.length;
    this.#count--;
    return true;
  }

  close(): void {
    this.#epoll.close();
  }

  #complete(tag: number, result: number): void {
    const at = (this.#head + this.#count++) % this.#tags.length;
    this.#tags[at] = tag;
    this.#results[at] = result < 0 ? -errno() : result;
  }
}

const ignore = (): void => undefined;
