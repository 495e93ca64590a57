import { Errno, SysError } from "./errno.ts";
import { check, errno, libc } from "./libc.ts";
import { mapAnonymous, munmap } from "./mmap.ts";
import { scratch } from "./scratch.ts";
import { struct, u32, u64 } from "./struct.ts";

export const EpollEvent = { IN: 0x001, OUT: 0x004, ERR: 0x008, HUP: 0x010, RDHUP: 0x2000, ET: 0x8000_0000 } as const;

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const MAX_EVENTS = 64;
/** struct epoll_event is packed on x86-64 and naturally aligned elsewhere (linux/eventpoll.h). */
export const epollEvent = struct(
  "epoll_event",
  { events: u32, data: u64 },
  process.arch === "x64" ? "packed" : "natural",
);
const EVENT_SIZE = epollEvent.size;
const DATA_OFFSET = epollEvent.offsets.data;

/** An epoll instance whose registrations carry a small integer token. */
export class Epoll {
  readonly fd: number;
  readonly #events = mapAnonymous(MAX_EVENTS * EVENT_SIZE);

  /**
   * @param fd an instance that another thread has made; without it a new one
   * @throws SysError
   */
  constructor(fd?: number) {
    this.fd = fd ?? check(libc.epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  }

  /** Watches `fd` for `events`; `token` comes back with each. @throws SysError */
  add(fd: number, token: number, events: number = EpollEvent.IN): void {
    this.#control(EPOLL_CTL_ADD, fd, token, events);
  }

  /** Changes what `fd` is watched for. @throws SysError */
  modify(fd: number, token: number, events: number): void {
    this.#control(EPOLL_CTL_MOD, fd, token, events);
  }

  /** Stops watching `fd`. @throws SysError */
  remove(fd: number): void {
    this.#control(EPOLL_CTL_DEL, fd, 0, 0);
  }

  /**
   * Waits for events and hands each to `handle`.
   * @param timeoutMs -1 waits without limit
   * @returns how many there were; 0 on a time-out or a signal
   * @throws SysError
   */
  wait(timeoutMs: number, handle: (token: number, events: number) => void): number {
    const count = libc.epoll_wait(this.fd, this.#events.address, MAX_EVENTS, timeoutMs);
    if (count < 0) {
      if (errno() === Errno.EINTR) return 0;
      throw new SysError(errno(), "epoll_wait");
    }
    const { view } = this.#events;
    for (let i = 0; i < count; i++)
      handle(view.getUint32(i * EVENT_SIZE + DATA_OFFSET, true), view.getUint32(i * EVENT_SIZE, true));
    return count;
  }

  /** Closes the instance, which must not be used any more. @throws SysError */
  close(): void {
    libc.close(this.fd);
    munmap(this.#events.address, this.#events.size);
  }

  #control(operation: number, fd: number, token: number, events: number): void {
    const { view, address } = scratch();
    view.setUint32(0, events, true);
    view.setUint32(DATA_OFFSET, token, true);
    view.setUint32(DATA_OFFSET + 4, 0, true);
    check(libc.epoll_ctl(this.fd, operation, fd, address), `epoll_ctl ${operation} of fd ${fd}`);
  }
}
