import { Errno } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { mapForThread } from "../host/mmap.ts";
import { waitWritable } from "../host/poll.ts";

/** Where the bytes of a character device go. Called on the thread of the vCPU that sends them. */
export interface ByteSink {
  write(byte: number): void;
}

/** Bytes go nowhere. */
export const nullSink: ByteSink = { write: () => undefined };

/** How long a vCPU is held up for output that nobody takes, before the output counts as stuck. */
const PATIENCE_MS = 100;

/** The thread's one-byte buffer. */
const buffer = mapForThread(1);

/**
 * Bytes go to a file descriptor at once. What cannot be delivered is lost, as on a line with nothing at the other end: a
 * terminal that hung up, a full disk or a reader that has stopped must not stop the guest.
 */
export class DescriptorSink implements ByteSink {
  readonly #fd: number;
  #stuck = false;

  /** @param fd open for writing; blocking or not */
  constructor(fd: number) {
    this.#fd = fd;
  }

  write(byte: number): void {
    buffer.u8[0] = byte;
    while (libc.write(this.#fd, buffer.address, 1) < 0) {
      const error = errno();
      if (error !== Errno.EAGAIN && error !== Errno.EINTR) return;
      // A kick must reach the vCPU's loop even when nobody takes the output, so an interrupted write is only repeated
      // where it will not block.
      const patience = error === Errno.EAGAIN && !this.#stuck ? PATIENCE_MS : 0;
      this.#stuck = !waitWritable(this.#fd, patience);
      if (this.#stuck) return;
    }
    this.#stuck = false;
  }
}
