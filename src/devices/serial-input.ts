import { EpollEvent } from "../host/epoll.ts";
import { Errno } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { mapAnonymous } from "../host/mmap.ts";
import { logger } from "../threads/log.ts";
import type { IoClient, IoLoop, Watch } from "./io-loop.ts";

const log = logger("serial");

const CHUNK_BYTES = 256;

/** Takes what comes in for a character device. */
export interface ByteReceiver {
  /**
   * @returns how many bytes were taken. When they are fewer than offered, the receiver has the thread's control woken as
   * soon as it may take more.
   */
  receive(bytes: Uint8Array): number;
}

/**
 * Carries input from a terminal, a pipe or a socket to a character device. While the device takes no more, the descriptor
 * is not read, so that whoever writes to it is held up.
 */
export class SerialInput implements IoClient {
  readonly #fd: number;
  readonly #receiver: ByteReceiver;
  readonly #watch: Watch;
  readonly #buffer = mapAnonymous(CHUNK_BYTES);
  /** The part of the buffer that was refused. */
  #from = 0;
  #to = 0;
  #open = true;

  /** @param fd readable and able to be waited for; the I/O thread is its only reader */
  constructor(loop: IoLoop, fd: number, receiver: ByteReceiver) {
    this.#fd = fd;
    this.#receiver = receiver;
    this.#watch = loop.watch(fd, () => this.#read());
  }

  wake(): void {
    this.#deliver();
  }

  /** What was refused stays here: it has not reached the device. */
  pause(): void {
    this.#watch.set(0);
  }

  #read(): void {
    const count = libc.read(this.#fd, this.#buffer.address, CHUNK_BYTES);
    if (count < 0 && (errno() === Errno.EAGAIN || errno() === Errno.EINTR)) return;
    if (count <= 0) {
      log.info("the input of the serial port has ended");
      this.#open = false;
    }
    this.#from = 0;
    this.#to = Math.max(0, count);
    this.#deliver();
  }

  #deliver(): void {
    if (this.#from < this.#to) this.#from += this.#receiver.receive(this.#buffer.u8.subarray(this.#from, this.#to));
    this.#watch.set(this.#open && this.#from === this.#to ? EpollEvent.IN : 0);
  }
}
