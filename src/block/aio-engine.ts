import { Aio, IocbCommand } from "../host/aio.ts";
import { Epoll, EpollEvent } from "../host/epoll.ts";
import { createEventFd } from "../host/eventfd.ts";
import { libc } from "../host/libc.ts";
import type { IoEngine } from "./engine.ts";

/** Asynchronous I/O through Linux AIO, which is so only with O_DIRECT: what goes through the page cache is done at once. */
export class AioEngine implements IoEngine {
  tag = 0;
  result = 0;
  readonly #aio: Aio;
  readonly #epoll: Epoll;
  /** Signalled for each completion. Nobody reads it: the epoll instance notices each signal once. */
  readonly #completionFd: number;

  /**
   * @param tags requests that may be under way at once
   * @throws AioUnavailableError
   */
  constructor(tags: number) {
    using resources = new DisposableStack();
    this.#completionFd = resources.adopt(createEventFd(), (fd) => libc.close(fd));
    this.#aio = resources.adopt(new Aio(tags, this.#completionFd), (aio) => aio.close());
    this.#epoll = resources.adopt(new Epoll(), (epoll) => epoll.close());
    this.watch(this.#completionFd);
    resources.move();
  }

  read(fd: number, iovecs: number, count: number, _buffer: number, _length: number, offset: number, tag: number): void {
    this.#aio.queue(IocbCommand.PREADV, fd, iovecs, count, offset, tag);
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
    this.#aio.queue(IocbCommand.PWRITEV, fd, iovecs, count, offset, tag);
  }

  sync(fd: number, tag: number): void {
    this.#aio.queue(IocbCommand.FDSYNC, fd, 0, 0, 0, tag);
  }

  watch(eventFd: number): void {
    this.#epoll.add(eventFd, 0, EpollEvent.IN | EpollEvent.ET);
  }

  wait(block: boolean): void {
    const aio = this.#aio;
    if (aio.hasQueued) aio.submit();
    aio.collect();
    if (!block || aio.hasCompletions) return;
    this.#epoll.wait(-1, ignore);
    aio.collect();
  }

  next(): boolean {
    const aio = this.#aio;
    if (!aio.next()) return false;
    this.tag = aio.tag;
    this.result = aio.result;
    return true;
  }

  close(): void {
    this.#aio.close();
    this.#epoll.close();
    libc.close(this.#completionFd);
  }
}

const ignore = (): void => undefined;
