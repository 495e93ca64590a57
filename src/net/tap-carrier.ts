import { Errno, SysError } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { scratch } from "../host/scratch.ts";
import type { FrameBatch } from "./frame-batch.ts";
import type { FrameCarrier } from "./frame-carrier.ts";
import { ifreqFlags, TunFlag, TunRequest, VNET_HDR_BYTES } from "./tap-abi.ts";
import { TapRing } from "./tap-ring.ts";

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

/** One queue of a TAP interface: each frame is one readv or writev. */
export class TapCarrier implements FrameCarrier {
  readonly fd: number;
  readonly hasHeader = true;
  readonly ended = false;
  readonly #ring: TapRing | undefined;
  #active = true;

  /** @param fd non-blocking, with frame headers of 12 bytes; stays the caller's. @throws SysError */
  constructor(fd: number) {
    this.fd = fd;
    this.#ring = TapRing.open(fd);
  }

  receive(rooms: FrameBatch): number {
    return this.#ring === undefined || rooms.count === 1 ? this.#receiveEach(rooms) : receiveAll(rooms, this.#ring);
  }

  send(frames: FrameBatch): number {
    return this.#ring === undefined || frames.count === 1 ? this.#sendEach(frames) : this.#sendAll(frames, this.#ring);
  }

  #receiveEach(rooms: FrameBatch): number {
    const { count, addresses, segments } = rooms;
    for (let i = 0; i < count; i++) {
      const bytes = libc.readv(this.fd, addresses[i] ?? 0, segments[i] ?? 0);
      if (!isReceived(rooms, i, bytes < 0 ? -errno() : bytes)) return i;
    }
    return count;
  }

  #sendEach(frames: FrameBatch): number {
    for (let i = 0; i < frames.count; i++) if (!isDone(frames, i, this.#sendOne(frames, i))) return i;
    return frames.count;
  }

  /** All at once, but for those that there was no room for while others before or behind them passed: one by one. */
  #sendAll(frames: FrameBatch, ring: TapRing): number {
    const { count } = frames;
    const { results } = ring;
    ring.send(frames);
    let last = count;
    while (last > 0 && mustWait(results[last - 1] ?? 0)) last--;
    for (let i = 0; i < last; i++)
      if (!isDone(frames, i, results[i] ?? 0) && !isDone(frames, i, this.#sendOne(frames, i))) frames.lengths[i] = 0;
    return last;
  }

  /** @returns what was sent in bytes, or a negated errno */
  #sendOne({ addresses, segments }: FrameBatch, index: number): number {
    const sent = libc.writev(this.fd, addresses[index] ?? 0, segments[index] ?? 0);
    return sent < 0 ? -errno() : sent;
  }

  setOffloads(offloads: number): void {
    setTapOffloads(this.fd, offloads);
  }

  driverLeft(): void {
    forgetReader(this.fd);
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
    this.#ring?.close();
    try {
      // Whoever uses the descriptor next finds it as it was.
      this.setActive(true);
    } catch (error) {
      // The interface has been deleted.
      if (!(error instanceof SysError)) throw error;
    }
  }
}

/** All at once. A frame may come in between a read that found none and the next: it is moved up. */
function receiveAll(rooms: FrameBatch, ring: TapRing): number {
  const { results } = ring;
  ring.receive(rooms);
  let received = 0;
  for (let i = 0; i < rooms.count; i++) {
    const result = results[i] ?? 0;
    if (!isReceived(rooms, i, result)) continue;
    if (received < i) rooms.lengths[received] = result > 0 && rooms.move(i, received, result) ? result : 0;
    received++;
  }
  return received;
}

const mustWait = (result: number): boolean => result === -Errno.EAGAIN || result === -Errno.EINTR;

/**
 * Judges how receiving into a room went.
 * @param result bytes received, or a negated errno
 * @returns whether the room is used up, by a frame or by one that was dropped
 * @throws SysError
 */
function isReceived(rooms: FrameBatch, index: number, result: number): boolean {
  if (mustWait(result)) return false;
  if (result < 0 && result !== -Errno.EINVAL) throw new SysError(-result, "receive from the TAP interface");
  rooms.lengths[index] = Math.max(0, result);
  return true;
}

/**
 * Judges how sending a frame went.
 * @param result bytes sent, or a negated errno
 * @returns whether the frame is done with, sent or dropped
 * @throws SysError
 */
function isDone(frames: FrameBatch, index: number, result: number): boolean {
  if (result >= 0) return true;
  if (mustWait(result)) return false;
  if (!DROPPED.has(-result)) throw new SysError(-result, "send to the TAP interface");
  frames.lengths[index] = 0;
  return true;
}

/** More than a TAP keeps for its reader. */
const MOST_FRAMES = 65536;

/**
 * Makes a TAP one whose reader finishes nothing on its own, and drops what waits for the reader there was: reading a part of
 * a frame takes all of it.
 * @throws SysError
 */
export function forgetReader(fd: number): void {
  setTapOffloads(fd, 0);
  const { address } = scratch();
  for (let frames = 0; frames < MOST_FRAMES; frames++) if (libc.read(fd, address, VNET_HDR_BYTES) < 0) return;
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
