import { errno, libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapForThread } from "../host/mmap.ts";
import type { Chardev, InputTaker } from "./chardev/chardev.ts";
import type { IoClient } from "./io-loop.ts";

const CHUNK_BYTES = 256;

/** The thread's buffer: it serves one serial port at a time. */
let chunk: MemoryBlock | undefined;

/** Takes what comes in for a character device. */
export interface ByteReceiver {
  /**
   * @returns how many bytes were taken. When they are fewer than offered, the receiver has the thread's control woken as
   * soon as it may take more.
   */
  receive(bytes: Uint8Array): number;
}

/**
 * Carries input from the host's end to a serial port. While the port takes no more, nothing is read, so that whoever writes
 * is held up.
 */
export class SerialInput implements IoClient, InputTaker {
  readonly #chardev: Chardev;
  readonly #receiver: ByteReceiver;
  readonly #buffer: MemoryBlock;
  /** The part of the buffer that was refused. */
  #from = 0;
  #to = 0;

  /** @param chardev served by the same thread */
  constructor(chardev: Chardev, receiver: ByteReceiver) {
    this.#chardev = chardev;
    this.#receiver = receiver;
    chunk ??= mapForThread(CHUNK_BYTES);
    this.#buffer = chunk;
    chardev.feed(this);
  }

  hasRoom(): boolean {
    return this.#from === this.#to;
  }

  read(fd: number): number {
    const count = libc.read(fd, this.#buffer.address, CHUNK_BYTES);
    if (count < 0) return -errno();
    this.#from = 0;
    this.#to = count;
    this.#deliver();
    return count;
  }

  wake(): void {
    this.#deliver();
    this.#chardev.updateInput();
  }

  /** What was refused stays here: it has not reached the device. */
  pause(): void {}

  #deliver(): void {
    if (this.#from < this.#to) this.#from += this.#receiver.receive(this.#buffer.u8.subarray(this.#from, this.#to));
  }
}
