import { Errno, SysError } from "../../host/errno.ts";
import { iovec, MAX_IOVECS, setIovec } from "../../host/iovec.ts";
import { errno, libc } from "../../host/libc.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { msghdr, Socket } from "../../host/unix-socket.ts";
import { FrameBatch } from "../frame-batch.ts";
import { gather } from "./iovec-copy.ts";
import { isFrameLength, MAX_FRAME_BYTES, PREFIX_BYTES } from "./protocol.ts";

const FLAGS = Socket.MSG_NOSIGNAL | Socket.MSG_DONTWAIT;

/**
 * Sends frames to a stream socket, as many in one call as the kernel takes. A stream may be full within a frame: a copy of
 * that frame waits until there is room, so that guest memory is not in use between two calls.
 */
export class StreamSender {
  /** The other side is gone: frames are lost. */
  ended = false;
  readonly #fd: number;
  readonly #prefixes = mapAnonymous(FrameBatch.maxFrames * PREFIX_BYTES);
  readonly #message = mapAnonymous(msghdr.size);
  readonly #head = msghdr.at(this.#message);
  /** A frame of which only a part went, with its length before it. */
  readonly #waiting = mapAnonymous(PREFIX_BYTES + MAX_FRAME_BYTES);
  readonly #waitingIovec = mapAnonymous(iovec.size);
  #waitingBytes = 0;
  #waitingSent = 0;

  /** @param fd a connected stream socket */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Gives back its memory. */
  close(): void {
    for (const { address, size } of [this.#prefixes, this.#message, this.#waiting, this.#waitingIovec])
      munmap(address, size);
  }

  /** As `FrameCarrier.send`. */
  send(frames: FrameBatch): number {
    let done = 0;
    if (this.#waitingBytes > 0) {
      const frame = this.#waitingBytes - PREFIX_BYTES;
      if (!this.#sendWaiting()) return this.#giveUp(frames, 0);
      // It is the first that is given again. After a new start of the driver it may be another: that is lost on its way.
      if (frames.lengths[0] === frame) done = 1;
    }
    while (done < frames.count) {
      if (canBeSent(frames, done)) {
        const end = this.#endOfRun(frames, done);
        done = this.#sendRun(frames, done, end);
        if (done < end) return this.#giveUp(frames, done);
      } else frames.lengths[done++] = 0;
    }
    return done;
  }

  /** What `send` returns where the socket takes no more: for now, or for ever, when all the rest is lost. */
  #giveUp(frames: FrameBatch, done: number): number {
    if (!this.ended) return done;
    frames.lengths.fill(0, done, frames.count);
    return frames.count;
  }

  /** Puts lengths before frames that lie side by side in the batch, as many as one call takes. @returns the first frame after them */
  #endOfRun(frames: FrameBatch, start: number): number {
    let end = start;
    for (let iovecs = 0; end < frames.count && canBeSent(frames, end); end++) {
      iovecs += 1 + (frames.segments[end] ?? 0);
      if (iovecs > MAX_IOVECS) break;
      const at = end * PREFIX_BYTES;
      this.#prefixes.view.setUint32(at, frames.lengths[end] ?? 0);
      setIovec(frames.table, frames.elementOf(end) - 1, this.#prefixes.address + at, PREFIX_BYTES);
    }
    return end;
  }

  /** Sends frames in one call. @returns the first that did not go, or of which only a part did */
  #sendRun(frames: FrameBatch, start: number, end: number): number {
    const first = frames.elementOf(start) - 1;
    const last = frames.elementOf(end - 1) + (frames.segments[end - 1] ?? 0);
    let left = this.#sendMessage((frames.addresses[start] ?? 0) - iovec.size, last - first);
    for (let frame = start; frame < end; frame++) {
      const bytes = PREFIX_BYTES + (frames.lengths[frame] ?? 0);
      if (left < bytes) {
        if (left > 0) {
          gather(frames.table, frames.elementOf(frame) - 1, this.#waiting.address, bytes);
          this.#waitingBytes = bytes;
          this.#waitingSent = left;
        }
        return frame;
      }
      left -= bytes;
    }
    return end;
  }

  /** Sends what waits. @returns whether all of it is gone */
  #sendWaiting(): boolean {
    const { address } = this.#waiting;
    setIovec(this.#waitingIovec.u32, 0, address + this.#waitingSent, this.#waitingBytes - this.#waitingSent);
    this.#waitingSent += this.#sendMessage(this.#waitingIovec.address, 1);
    if (this.#waitingSent < this.#waitingBytes) return false;
    this.#waitingBytes = 0;
    return true;
  }

  /** @returns how many bytes went @throws SysError */
  #sendMessage(iovecs: number, count: number): number {
    this.#head.msg_iov = iovecs;
    this.#head.msg_iovlen = count;
    const bytes = libc.sendmsg(this.#fd, this.#message.address, FLAGS);
    if (bytes >= 0) return bytes;
    const error = errno();
    if (error === Errno.EPIPE || error === Errno.ECONNRESET) this.ended = true;
    else if (error !== Errno.EAGAIN && error !== Errno.EINTR) throw new SysError(error, "send to the network's socket");
    return 0;
  }
}

/** Whether a frame can be sent at all: others are dropped. */
function canBeSent({ lengths, segments }: FrameBatch, frame: number): boolean {
  return isFrameLength(lengths[frame] ?? 0) && (segments[frame] ?? 0) < MAX_IOVECS;
}
