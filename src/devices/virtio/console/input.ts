import { Errno } from "../../../host/errno.ts";
import { iovecTable } from "../../../host/iovec.ts";
import { errno, libc } from "../../../host/libc.ts";
import type { InputTaker } from "../../chardev/chardev.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";

/**
 * Input of the console: read straight into the driver's buffers. While it has none, nothing is read, and what is typed waits
 * in the kernel.
 */
export class ConsoleInput implements InputTaker {
  readonly #queue: BackEndQueue;
  readonly #iovecs = iovecTable();

  constructor(queue: BackEndQueue) {
    this.#queue = queue;
  }

  /** Whether the driver has buffers; it notifies of new ones when it has none. */
  hasRoom(): boolean {
    return this.#queue.enableNotifications();
  }

  read(fd: number): number {
    const queue = this.#queue;
    const head = queue.take();
    const { ring } = queue;
    let result: number = -Errno.EAGAIN;
    if (head !== NO_CHAIN && ring !== undefined) {
      const count = ring.chain.writableIovecs(this.#iovecs.u32, 0);
      if (count > 0) {
        result = libc.readv(fd, this.#iovecs.address, count);
        if (result < 0) result = -errno();
      }
      if (count === 0 || result > 0) ring.complete(head, Math.max(0, result));
      else ring.unpop(head);
    }
    queue.publish();
    return result;
  }
}
