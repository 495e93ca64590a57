import { EpollEvent } from "../../../host/epoll.ts";
import { Errno } from "../../../host/errno.ts";
import { iovecTable } from "../../../host/iovec.ts";
import { errno, libc } from "../../../host/libc.ts";
import type { IoLoop, Watch } from "../../io-loop.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";

/**
 * Input of the console: read straight into the driver's buffers. While it has none, the descriptor is not read, and what is
 * typed waits in the kernel.
 */
export class ConsoleInput {
  readonly #queue: BackEndQueue;
  readonly #fd: number;
  readonly #watch: Watch;
  readonly #iovecs = iovecTable();
  #open = true;

  constructor(loop: IoLoop, queue: BackEndQueue, fd: number) {
    this.#queue = queue;
    this.#fd = fd;
    this.#watch = loop.watch(fd, () => this.#read());
  }

  /** Waits for input when the driver has room for it, else for the driver to say that it has. */
  update(): void {
    this.#watch.set(this.#open && this.#queue.enableNotifications() ? EpollEvent.IN : 0);
  }

  /** Stops reading. */
  stop(): void {
    this.#watch.set(0);
  }

  #read(): void {
    const head = this.#queue.take();
    const { ring } = this.#queue;
    if (head !== NO_CHAIN && ring !== undefined) {
      const count = ring.chain.writableIovecs(this.#iovecs.u32, 0);
      const received = count === 0 ? 0 : libc.readv(this.#fd, this.#iovecs.address, count);
      if (count === 0 || received > 0) ring.complete(head, received);
      else {
        this.#open = received < 0 && (errno() === Errno.EAGAIN || errno() === Errno.EINTR);
        ring.unpop(head);
      }
    }
    this.#queue.publish();
    this.update();
  }
}
