import { Errno, SysError } from "../../host/errno.ts";
import { iovec, MAX_IOVECS, setIovec } from "../../host/iovec.ts";
import { errno, libc } from "../../host/libc.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { logger } from "../../threads/log.ts";
import type { FrameBatch } from "../frame-batch.ts";
import { gather, scatter } from "./iovec-copy.ts";
import { isFrameLength, MAX_FRAME_BYTES, PREFIX_BYTES } from "./protocol.ts";

const log = logger("net");

/** What a read came to where it brought nothing. */
const NOTHING_YET = 0;

/**
 * Receives frames from a stream socket. The kernel writes a frame into its room, and the length of the next one beside it, in
 * one call. Of a frame that has not come as a whole the beginning is set aside, so that no room is in use between two calls.
 */
export class StreamReceiver {
  /** Nothing will come any more: the other side is gone, or does not speak the protocol. */
  ended = false;
  readonly #fd: number;
  readonly #iovecs = mapAnonymous(MAX_IOVECS * iovec.size);
  /** The length of the next frame, as far as it has come. */
  readonly #prefix = mapAnonymous(PREFIX_BYTES);
  #prefixBytes = 0;
  /** Length of the next frame; 0 while its prefix has not come. */
  #frame = 0;
  /** The beginning of the next frame. */
  readonly #begun = mapAnonymous(MAX_FRAME_BYTES);
  #begunBytes = 0;

  /** @param fd a connected stream socket, non-blocking */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Gives back its memory. */
  close(): void {
    for (const { address, size } of [this.#iovecs, this.#prefix, this.#begun]) munmap(address, size);
  }

  /** As `FrameCarrier.receive`. */
  receive(rooms: FrameBatch): number {
    let done = 0;
    while (done < rooms.count && this.#readPrefix()) {
      const fits = this.#frame <= (rooms.lengths[done] ?? 0);
      if (fits && this.#begunBytes === 0) this.#readInto(rooms, done);
      if (this.#frame !== 0) {
        if (!this.#readAside()) break;
        if (fits) scatter(this.#begun.address, rooms.table, rooms.elementOf(done), this.#frame);
        rooms.lengths[done] = fits ? this.#frame : 0;
        this.#frame = 0;
        this.#begunBytes = 0;
      }
      done++;
    }
    return done;
  }

  /** Reads the length of the next frame, where it is not known yet. @returns whether it is known */
  #readPrefix(): boolean {
    if (this.#frame !== 0) return true;
    while (this.#prefixBytes < PREFIX_BYTES) {
      const { address } = this.#prefix;
      const bytes = this.#moved(libc.read(this.#fd, address + this.#prefixBytes, PREFIX_BYTES - this.#prefixBytes));
      if (bytes === NOTHING_YET) return false;
      this.#prefixBytes += bytes;
    }
    const length = this.#prefix.view.getUint32(0);
    if (!isFrameLength(length)) {
      log.error(`the other side of the network sent a frame of ${length} bytes: the connection is given up`);
      this.ended = true;
      return false;
    }
    this.#prefixBytes = 0;
    this.#frame = length;
    return true;
  }

  /** Reads a frame into its room, and the length of the next. Of a frame that has not all come the beginning is taken out again. */
  #readInto(rooms: FrameBatch, room: number): void {
    const count = this.#describe(rooms, room);
    const bytes = this.#moved(libc.readv(this.#fd, this.#iovecs.address, count));
    if (bytes < this.#frame) {
      gather(this.#iovecs.u32, 0, this.#begun.address, bytes);
      this.#begunBytes = bytes;
      return;
    }
    rooms.lengths[room] = this.#frame;
    this.#prefixBytes = bytes - this.#frame;
    this.#frame = 0;
  }

  /** Makes iovecs of the frame's place in its room and, where one more is possible, of the next length. @returns how many */
  #describe(rooms: FrameBatch, room: number): number {
    const { table } = rooms;
    const { u32 } = this.#iovecs;
    let count = 0;
    for (let at = rooms.elementOf(room) * 4, left = this.#frame; left > 0; at += 4, count++) {
      const bytes = Math.min(table[at + 2] ?? 0, left);
      u32[count * 4] = table[at] ?? 0;
      u32[count * 4 + 1] = table[at + 1] ?? 0;
      u32[count * 4 + 2] = bytes;
      u32[count * 4 + 3] = 0;
      left -= bytes;
    }
    if (count < MAX_IOVECS) setIovec(u32, count++, this.#prefix.address, PREFIX_BYTES);
    return count;
  }

  /** Reads the rest of a frame into memory of our own. @returns whether it is complete */
  #readAside(): boolean {
    while (this.#begunBytes < this.#frame) {
      const { address } = this.#begun;
      const bytes = this.#moved(libc.read(this.#fd, address + this.#begunBytes, this.#frame - this.#begunBytes));
      if (bytes === NOTHING_YET) return false;
      this.#begunBytes += bytes;
    }
    return true;
  }

  /** What a read came to. @throws SysError */
  #moved(bytes: number): number {
    if (bytes > 0) return bytes;
    if (bytes === 0) this.ended = true;
    else {
      const error = errno();
      if (error === Errno.ECONNRESET) this.ended = true;
      else if (error !== Errno.EAGAIN && error !== Errno.EINTR)
        throw new SysError(error, "receive from the network's socket");
    }
    return NOTHING_YET;
  }
}
