/**
 * Moves bytes between files and memory for one thread. Requests are named by a tag below the engine's `tags`, under which
 * at most one is under way; they complete in any order. Nothing here allocates for a request.
 */
export interface IoEngine {
  /** The tag of the completion that `next` took. */
  readonly tag: number;
  /** Its result: bytes moved, or a negated errno. */
  readonly result: number;
  /**
   * Starts reading from `offset` of a file.
   * @param iovecs address of `count` struct iovec, which stay as they are until the request completes
   * @param buffer the address in the first of them
   * @param length bytes that all of them hold together
   */
  read(fd: number, iovecs: number, count: number, buffer: number, length: number, offset: number, tag: number): void;
  /** Starts writing; as `read`. */
  write(fd: number, iovecs: number, count: number, buffer: number, length: number, offset: number, tag: number): void;
  /** Starts making durable what has been written by requests that completed before this call. */
  sync(fd: number, tag: number): void;
  /**
   * From now on a signal of this eventfd ends a `wait` that blocks: the one under way, or else the next one. Nobody has to read the
   * eventfd.
   */
  watch(eventFd: number): void;
  /**
   * Gets requests going.
   * @param block sleep until there is a completion or a signal; may come back for nothing
   * @throws SysError when the engine itself fails
   */
  wait(block: boolean): void;
  /** Takes the next completion into `tag` and `result`. @returns whether there was one */
  next(): boolean;
  /** Ends the engine. No request may be under way. */
  close(): void;
}
