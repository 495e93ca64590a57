import { EpollEvent } from "../../../host/epoll.ts";
import { Errno, errnoName } from "../../../host/errno.ts";
import { signalEventFd } from "../../../host/eventfd.ts";
import { iovecTable } from "../../../host/iovec.ts";
import { errno, libc } from "../../../host/libc.ts";
import { waitWritable } from "../../../host/poll.ts";
import { logger } from "../../../threads/log.ts";
import type { IoLoop, Watch } from "../../io-loop.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";

const log = logger("virtio-console");

/** At most this much at a time, so that a terminal that says it is writable takes it without blocking. */
const MAX_BYTES = 1024;
/** At most this much before the other devices of the thread have their turn. */
const PASS_BYTES = 65536;

/**
 * Output of the console: written straight from the driver's buffers. A terminal that is stopped stops the queue, not the
 * thread; when nobody is at the other end, or the disk is full, output is lost.
 */
export class ConsoleOutput {
  readonly #queue: BackEndQueue;
  #fd: number | undefined;
  readonly #watch: Watch | undefined;
  readonly #iovecs = iovecTable();
  /** The chain that is being written, and how much of it has been. */
  #head = NO_CHAIN;
  #written = 0;
  /** What may still be written in this pass. */
  #allowance = 0;

  /** @param fd undefined for output that goes nowhere */
  constructor(loop: IoLoop, queue: BackEndQueue, fd: number | undefined) {
    this.#queue = queue;
    this.#fd = fd;
    this.#watch = fd === undefined ? undefined : loop.watch(fd, (events) => this.#ready(events));
  }

  /** Writes what the driver has queued. */
  pump(): void {
    const queue = this.#queue;
    const { ring } = queue;
    if (ring === undefined) return;
    this.#allowance = PASS_BYTES;
    for (let chains = 0; chains < ring.size; chains++) {
      if (this.#head === NO_CHAIN) {
        this.#head = queue.take();
        this.#written = 0;
      }
      if (this.#head === NO_CHAIN) {
        queue.publish();
        if (!queue.enableNotifications()) return;
        continue;
      }
      const result = this.#write();
      if (result === "done") {
        ring.complete(this.#head, 0);
        this.#head = NO_CHAIN;
      } else {
        queue.publish();
        if (result === "blocked") this.#watch?.set(EpollEvent.OUT);
        else signalEventFd(queue.doorbell);
        return;
      }
    }
    queue.publish();
    signalEventFd(queue.doorbell);
  }

  /** Gives the chain that is being written back. What is left of it is lost. */
  drop(): void {
    this.#watch?.set(0);
    const head = this.#head;
    this.#head = NO_CHAIN;
    if (head === NO_CHAIN) return;
    this.#queue.ring?.complete(head, 0);
    this.#queue.publish();
  }

  #ready(events: number): void {
    this.#watch?.set(0);
    if ((events & (EpollEvent.ERR | EpollEvent.HUP)) !== 0) {
      log.warn("nobody takes the console's output any more");
      this.#fd = undefined;
    }
    this.pump();
  }

  /** "again" when something else comes first: a wake-up, or the other devices. */
  #write(): "done" | "blocked" | "again" {
    const chain = this.#queue.ring?.chain;
    const fd = this.#fd;
    if (chain === undefined || fd === undefined) return "done";
    for (;;) {
      const count = chain.readableIovecs(this.#iovecs.u32, this.#written, MAX_BYTES);
      if (count === 0) return "done";
      if (this.#allowance <= 0) return "again";
      if (!waitWritable(fd, 0)) return "blocked";
      const written = libc.writev(fd, this.#iovecs.address, count);
      if (written > 0) {
        this.#written += written;
        this.#allowance -= written;
        continue;
      }
      const error = written < 0 ? errno() : Errno.EIO;
      if (error === Errno.EAGAIN) return "blocked";
      if (error === Errno.EINTR) return "again";
      log.warn(`console output is lost: ${errnoName(error)}`);
      return "done";
    }
  }
}
