import { Errno, SysError } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { scratch } from "../host/scratch.ts";
import type { FrameBatch } from "./frame-batch.ts";
import type { FrameCarrier } from "./frame-carrier.ts";
import { ifreqFlags, TunFlag, TunRequest } from "./tap-abi.ts";

/** Frames that the kernel refuses for what they are, or that it has no memory for just now. */
const DROPPED: ReadonlySet<number> = new Set([
  Errno.EINVAL,
  Errno.EIO,
  Errno.EMSGSIZE,
  Errno.ENOMEM,
  Errno.ENOBUFS,
  Errno.E2BIG,
  // The queue is detached: the driver sends on a pair that it does not use.
  Errno.EBADFD,
]);

/** One queue of a TAP interface: one readv or writev a frame. */
export class TapCarrier implements FrameCarrier {
  readonly fd: number;
  readonly hasHeader = true;
  #active = true;

  /** @param fd non-blocking, with frame headers of 12 bytes; stays the caller's */
  constructor(fd: number) {
    this.fd = fd;
  }

  receive(rooms: FrameBatch): number {
    const { count, addresses, segments, lengths } = rooms;
    for (let i = 0; i < count; i++) {
      const bytes = libc.readv(this.fd, addresses[i] ?? 0, segments[i] ?? 0);
      if (bytes >= 0) lengths[i] = bytes;
      else {
        const error = errno();
        if (error === Errno.EAGAIN || error === Errno.EINTR) return i;
        if (error !== Errno.EINVAL) throw new SysError(error, "receive from the TAP interface");
        lengths[i] = 0;
      }
    }
    return count;
  }

  send(frames: FrameBatch): number {
    const { count, addresses, segments, lengths } = frames;
    for (let i = 0; i < count; i++) {
      if (libc.writev(this.fd, addresses[i] ?? 0, segments[i] ?? 0) >= 0) continue;
      const error = errno();
      if (error === Errno.EAGAIN || error === Errno.EINTR) return i;
      if (!DROPPED.has(error)) throw new SysError(error, "send to the TAP interface");
      lengths[i] = 0;
    }
    return count;
  }

  setOffloads(offloads: number): void {
    setTapOffloads(this.fd, offloads);
  }

  setActive(active: boolean): void {
    if (active === this.#active) return;
    const block = scratch();
    const request = ifreqFlags.at(block);
    request.ifr_name.fill(0);
    request.ifr_flags = active ? TunFlag.ATTACH_QUEUE : TunFlag.DETACH_QUEUE;
    request.rest.fill(0);
    if (libc.ioctl(this.fd, TunRequest.SET_QUEUE, block.address) < 0)
      throw new SysError(errno(), `${active ? "attach" : "detach"} a queue of the TAP interface`);
    this.#active = active;
  }

  close(): void {
    try {
      // Whoever uses the descriptor next finds it as it was.
      this.setActive(true);
    } catch (error) {
      // The interface has been deleted.
      if (!(error instanceof SysError)) throw error;
    }
  }
}

/**
 * Says what the reader of a TAP finishes on its own. A detached queue has no say.
 * @param offloads `TunOffload` flags
 * @throws SysError
 */
export function setTapOffloads(fd: number, offloads: number): void {
  if (libc.ioctl(fd, TunRequest.SET_OFFLOAD, offloads) < 0 && errno() !== Errno.EBADFD)
    throw new SysError(errno(), "set the offloads of the TAP interface");
}
