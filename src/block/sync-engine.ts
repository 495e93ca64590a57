import { Epoll, EpollEvent } from "../host/epoll.ts";
import { Errno } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { Completions } from "./completions.ts";
import type { IoEngine } from "./engine.ts";

/** I/O by system calls that do it at once, where there is no io_uring. */
export class SyncEngine implements IoEngine {
  tag = 0;
  result = 0;
  readonly #epoll = new Epoll();
  readonly #done: Completions;

  /**
   * @param tags requests that may be under way at once
   * @throws SysError
   */
  constructor(tags: number) {
    this.#done = new Completions(tags);
  }

  read(fd: number, iovecs: number, count: number, _buffer: number, _length: number, offset: number, tag: number): void {
    let result: number;
    do result = libc.preadv(fd, iovecs, count, offset);
    while (result < 0 && errno() === Errno.EINTR);
    this.#complete(tag, result);
  }

  write(
    fd: number,
    iovecs: number,
    count: number,
    _buffer: number,
    _length: number,
    offset: number,
    tag: number,
  ): void {
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
    if (block && this.#done.count === 0) this.#epoll.wait(-1, ignore);
  }

  next(): boolean {
    const done = this.#done;
    if (!done.take()) return false;
    this.tag = done.tag;
    this.result = done.result;
    return true;
  }

  close(): void {
    this.#epoll.close();
  }

  #complete(tag: number, result: number): void {
    this.#done.add(tag, result < 0 ? -errno() : result);
  }
}

const ignore = (): void => undefined;
