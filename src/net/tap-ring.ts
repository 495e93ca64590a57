import { Errno } from "../host/errno.ts";
import { IoUringOp } from "../host/io-uring/abi.ts";
import { IoUring, IoUringUnavailableError } from "../host/io-uring/io-uring.ts";
import { FrameBatch } from "./frame-batch.ts";

/**
 * Moves the frames of a batch with one system call for all, in the calling thread: a third less time a frame than with one
 * call each.
 */
export class TapRing {
  /** How each frame of the last batch fared: bytes moved, or a negated errno. */
  readonly results = new Int32Array(FrameBatch.maxFrames);
  readonly #ring: IoUring;
  /** Not registered with the ring, which gives files back only some time after it has been closed. */
  readonly #fd: number;

  private constructor(ring: IoUring, fd: number) {
    this.#ring = ring;
    this.#fd = fd;
  }

  /** @returns undefined where the kernel has no io_uring for us, or none that never waits for this interface */
  static open(fd: number): TapRing | undefined {
    let ring: IoUring;
    try {
      ring = new IoUring(FrameBatch.maxFrames, FrameBatch.maxFrames, [IoUringOp.READV, IoUringOp.WRITEV]);
    } catch (error) {
      if (error instanceof IoUringUnavailableError) return undefined;
      throw error;
    }
    try {
      const tap = new TapRing(ring, fd);
      if (tap.#neverWaits()) return tap;
    } catch (error) {
      ring.close();
      if (!(error instanceof IoUringUnavailableError)) throw error;
      return undefined;
    }
    ring.close();
    return undefined;
  }

  /** Sends all frames of a batch, unless they would have to wait: see `results`. @throws SysError */
  send({ count, addresses, segments }: FrameBatch): void {
    for (let i = 0; i < count; i++) this.#ring.writevNow(this.#fd, addresses[i] ?? 0, segments[i] ?? 0, i);
    this.#collect(count);
  }

  /** Receives into all rooms of a batch for which there are frames: see `results`. @throws SysError */
  receive({ count, addresses, segments }: FrameBatch): void {
    for (let i = 0; i < count; i++) this.#ring.readvNow(this.#fd, addresses[i] ?? 0, segments[i] ?? 0, i);
    this.#collect(count);
  }

  close(): void {
    this.#ring.close();
  }

  /** A frame of no bytes is refused for what it is, or because such an interface cannot be told not to wait. */
  #neverWaits(): boolean {
    this.#ring.writevNow(this.#fd, 0, 0, 0);
    this.#collect(1);
    return this.results[0] !== -Errno.EOPNOTSUPP;
  }

  #collect(count: number): void {
    const ring = this.#ring;
    for (let done = 0; done < count; ) {
      ring.enter(count - done);
      for (; ring.next(); done++) this.results[ring.tag] = ring.result;
    }
  }
}
