import { Errno } from "../host/errno.ts";
import { segmentAddress, segmentLength } from "../host/iovec.ts";
import { errno, libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapForThread } from "../host/mmap.ts";
import { type ImageFile, ImageIoError, PosixImageFile } from "./image-file.ts";

/** A multiple of every alignment. */
const BOUNCE_BYTES = 256 << 10;

/** A file, open in one or two ways. */
export interface OpenImageFile {
  /** With O_DIRECT where that was asked for. */
  readonly fd: number;
  /** Through the host's page cache; `fd` itself without O_DIRECT. */
  readonly cachedFd: number;
  /** What addresses, offsets and lengths on `fd` must be multiples of; 1 without O_DIRECT. */
  readonly alignment: number;
}

/** Synchronous access to a file that goes the way of the requests that an engine has under way on it. */
export function imageFileOf({ fd, cachedFd, alignment }: OpenImageFile): ImageFile {
  return fd === cachedFd ? new PosixImageFile(fd) : new DirectImageFile(fd, cachedFd, alignment);
}

/**
 * A file that is open with O_DIRECT and that others write to at the same time. Everything goes around the page cache, metadata
 * too: a page that the cache holds changed makes the kernel fail direct writes beside it, or puts back what was there before.
 *
 * A range that is not aligned is read, changed and written: of the aligned range around it, nothing else may be written meanwhile.
 */
export class DirectImageFile implements ImageFile {
  readonly #fd: number;
  readonly #direct: PosixImageFile;
  readonly #cached: PosixImageFile;
  readonly #alignment: number;

  /** @param alignment a power of two, at most `BOUNCE_BYTES` */
  constructor(fd: number, cachedFd: number, alignment: number) {
    this.#fd = fd;
    this.#direct = new PosixImageFile(fd);
    this.#cached = new PosixImageFile(cachedFd);
    this.#alignment = alignment;
  }

  read(offset: number, address: number, length: number): void {
    for (let done = 0; done < length; ) {
      const start = this.#down(offset + done);
      const within = offset + done - start;
      const part = Math.min(BOUNCE_BYTES - within, length - done);
      const copy = this.#load(start, this.#up(within + part));
      libc.memcpy(address + done, copy + within, part);
      done += part;
    }
  }

  write(offset: number, address: number, length: number): void {
    for (let done = 0; done < length; ) {
      const part = this.#fitting(offset + done, length - done);
      const to = this.#prepare(offset + done, part);
      libc.memcpy(to, address + done, part);
      this.#store(offset + done, part);
      done += part;
    }
  }

  writev(offset: number, vectors: MemoryBlock, count: number, length: number): void {
    let at = offset;
    let part = this.#fitting(at, length);
    let to = this.#prepare(at, part);
    let held = 0;
    for (let i = 0; i < count; i++) {
      const size = segmentLength(vectors.u32, i);
      for (let done = 0; done < size; ) {
        const bytes = Math.min(size - done, part - held);
        libc.memcpy(to + held, segmentAddress(vectors.u32, i) + done, bytes);
        held += bytes;
        done += bytes;
        if (held < part) continue;
        this.#store(at, part);
        at += part;
        held = 0;
        part = this.#fitting(at, offset + length - at);
        if (part > 0) to = this.#prepare(at, part);
      }
    }
  }

  extend(size: number): void {
    this.#cached.extend(size);
  }

  sync(): void {
    this.#cached.sync();
  }

  zero(offset: number, length: number, mayUnmap: boolean): void {
    this.#cached.zero(offset, length, mayUnmap);
  }

  punch(offset: number, length: number): void {
    this.#cached.punch(offset, length);
  }

  #down(offset: number): number {
    return offset - (offset % this.#alignment);
  }

  #up(offset: number): number {
    return Math.ceil(offset / this.#alignment) * this.#alignment;
  }

  /** Bytes of a range that the copy has room for at once. */
  #fitting(offset: number, length: number): number {
    return Math.min(length, BOUNCE_BYTES - (offset % this.#alignment));
  }

  /** Has the copy hold what is around a range. @returns where in it the range is */
  #prepare(offset: number, length: number): number {
    const within = offset % this.#alignment;
    if (within === 0 && length % this.#alignment === 0) return bounce().address;
    return this.#load(offset - within, this.#up(within + length)) + within;
  }

  /** Writes the aligned range around a range from the copy. */
  #store(offset: number, length: number): void {
    const start = this.#down(offset);
    this.#direct.write(start, bounce().address, this.#up(offset + length) - start);
  }

  /** Reads an aligned range into the copy; what is beyond the file's end is zeroes. @returns where the copy is */
  #load(start: number, length: number): number {
    const { address } = bounce();
    for (let done = 0; done < length; ) {
      const count = libc.pread(this.#fd, address + done, length - done, start + done);
      if (count < 0) {
        if (errno() !== Errno.EINTR) throw new ImageIoError(`read ${length} bytes at ${start}`, errno());
        continue;
      }
      done += count;
      // A file system may give back less than there is: only nothing, or an odd number, is the file's end.
      if (count > 0 && done % this.#alignment === 0) continue;
      libc.memset(address + done, 0, length - done);
      break;
    }
    return address;
  }
}

let bounceMemory: MemoryBlock | undefined;

/** This thread's copy of what goes to and comes from a file. */
function bounce(): MemoryBlock {
  bounceMemory ??= mapForThread(BOUNCE_BYTES);
  return bounceMemory;
}
