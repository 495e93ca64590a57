import { Errno } from "../host/errno.ts";
import { iovec, setIovec } from "../host/iovec.ts";
import { errno, libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { punchHole, zeroRange } from "./sparse.ts";

/** A request on an image that failed, with what the guest is to be told: an errno. */
export class ImageIoError extends Error {
  override readonly name = "ImageIoError";
  readonly errno: number;
  constructor(what: string, errno: number) {
    super(`${what}: errno ${errno}`);
    this.errno = errno;
  }
}

/**
 * The file of an image as its metadata code sees it: synchronous access at byte offsets, from and to memory by its address.
 * Tests put a recorder in its place.
 */
export interface ImageFile {
  /** Reads all of a range; what is beyond the file's end reads as zeroes. @throws ImageIoError */
  read(offset: number, address: number, length: number): void;
  /** Writes all of a range. @throws ImageIoError */
  write(offset: number, address: number, length: number): void;
  /**
   * Writes all of a range from several pieces of memory.
   * @param vectors `count` struct iovec, which are changed
   * @param length the sum of their lengths
   * @throws ImageIoError
   */
  writev(offset: number, vectors: MemoryBlock, count: number, length: number): void;
  /**
   * Makes the file longer; what is new reads as zeroes.
   * @param size bytes, not less than it has
   * @throws ImageIoError
   */
  extend(size: number): void;
  /** Makes durable what has been written. @throws ImageIoError */
  sync(): void;
  /** Makes a range read as zeroes. @param mayUnmap whether its space may be given back @throws ImageIoError */
  zero(offset: number, length: number, mayUnmap: boolean): void;
  /** Gives the space of a range back where the file system can; afterwards the range may read as anything. */
  punch(offset: number, length: number): void;
}

/** A file that is open without O_DIRECT. */
export class PosixImageFile implements ImageFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  read(offset: number, address: number, length: number): void {
    for (let done = 0; done < length; ) {
      const count = libc.pread(this.#fd, address + done, length - done, offset + done);
      if (count > 0) done += count;
      else if (count === 0) {
        libc.memset(address + done, 0, length - done);
        return;
      } else if (errno() !== Errno.EINTR) throw new ImageIoError(`read ${length} bytes at ${offset}`, errno());
    }
  }

  write(offset: number, address: number, length: number): void {
    for (let done = 0; done < length; ) {
      const count = libc.pwrite(this.#fd, address + done, length - done, offset + done);
      if (count > 0) done += count;
      else if (count === 0) throw new ImageIoError(`write ${length} bytes at ${offset}`, Errno.EIO);
      else if (errno() !== Errno.EINTR) throw new ImageIoError(`write ${length} bytes at ${offset}`, errno());
    }
  }

  writev(offset: number, vectors: MemoryBlock, count: number, length: number): void {
    let first = 0;
    for (let done = 0; done < length; ) {
      const written = libc.pwritev(this.#fd, vectors.address + first * iovec.size, count - first, offset + done);
      if (written > 0) {
        done += written;
        if (done < length) first = skipWritten(vectors.u32, first, written);
      } else if (written === 0) throw new ImageIoError(`write ${length} bytes at ${offset}`, Errno.EIO);
      else if (errno() !== Errno.EINTR) throw new ImageIoError(`write ${length} bytes at ${offset}`, errno());
    }
  }

  extend(size: number): void {
    while (libc.ftruncate(this.#fd, size) < 0)
      if (errno() !== Errno.EINTR) throw new ImageIoError(`make the image ${size} bytes long`, errno());
  }

  sync(): void {
    while (libc.fdatasync(this.#fd) < 0)
      if (errno() !== Errno.EINTR) throw new ImageIoError("make the image durable", errno());
  }

  zero(offset: number, length: number, mayUnmap: boolean): void {
    const error = zeroRange(this.#fd, false, offset, length, mayUnmap);
    if (error !== 0) throw new ImageIoError(`zero ${length} bytes at ${offset}`, error);
  }

  punch(offset: number, length: number): void {
    // A hint: space that is not given back is merely not used.
    punchHole(this.#fd, offset, length);
  }
}

/** Takes bytes that were written off struct iovec from `first` on. @returns the first that has some left */
function skipWritten(table: Uint32Array, first: number, written: number): number {
  let index = first;
  let left = written;
  for (; left >= (table[index * 4 + 2] ?? 0); index++) left -= table[index * 4 + 2] ?? 0;
  const address = (table[index * 4] ?? 0) + (table[index * 4 + 1] ?? 0) * 0x1_0000_0000;
  setIovec(table, index, address + left, (table[index * 4 + 2] ?? 0) - left);
  return index;
}
