/**
 * One thread's access to a disk. Requests are named by a tag from 0 to `tags` - 1, under which at most one is under way, and
 * complete in any order. The caller has checked that a request lies inside the disk and is one of whole sectors.
 *
 * A pass: fill `segments(tag)` and start requests; `wait`; `next` until false.
 */
export interface Disk {
  /** Requests that may be under way at once. */
  readonly tags: number;
  /** Requests that were started and have not been taken with `next`. */
  readonly underWay: number;
  /** The tag of the request that `next` took. */
  readonly tag: number;
  /** How it ended: 0, or an errno. */
  readonly error: number;
  /** The request's array of struct iovec as 32-bit words, to be filled before `read` and `write`. */
  segments(tag: number): Uint32Array;
  /**
   * Starts reading.
   * @param offset bytes from the start of the disk
   * @param length bytes, the sum of the segments' lengths
   * @param count segments, at least 1
   */
  read(tag: number, offset: number, length: number, count: number): void;
  /** Starts writing; as `read`. */
  write(tag: number, offset: number, length: number, count: number): void;
  /** Starts making durable all that completed before this call. */
  flush(tag: number): void;
  /** Starts giving the space of a range back. */
  discard(tag: number, offset: number, length: number): void;
  /** Starts making a range read as zeroes. */
  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void;
  /** From now on a signal of this eventfd ends `wait`. Nobody has to read the eventfd. */
  watch(eventFd: number): void;
  /**
   * Gets requests going.
   * @param block sleep until a request completes or a signal comes; may come back for nothing
   * @throws SysError when no I/O is possible any more
   */
  wait(block: boolean): void;
  /** Takes the next completed request into `tag` and `error`. @returns whether there was one */
  next(): boolean;
  /** Gives up what this thread holds; the image stays open. No request may be under way. */
  close(): void;
}
