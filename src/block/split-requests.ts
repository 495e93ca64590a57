import { segmentAddress, segmentLength, setIovec } from "../host/iovec.ts";
import type { RawDisk } from "./raw-disk.ts";

/** Operations on the file that there are for each request that may be under way. */
export const OPERATIONS_PER_REQUEST = 2;

/**
 * Requests whose parts lie apart in a file, each of which goes there as a raw disk's request does. A request is over when all of
 * its parts are. Nothing is allocated for one: parts take operations from a common stock.
 *
 * `begin`, `add` parts in the order of the request, then `start` or `abandon`; `next` gives back what is over.
 */
export class SplitRequests {
  /** Requests that may be under way at once. */
  readonly tags: number;
  /** Requests that were started and have not been taken with `next`. */
  underWay = 0;
  /** The request that `next` took. */
  tag = 0;
  /** How it ended: 0, or an errno of one of its parts. */
  error = 0;
  readonly #raw: RawDisk;
  /** Of each operation: the request that it is of. Those below `tags` are of the request of that number. */
  readonly #owners: Uint16Array;
  /** Operations that are of no request: a stack. */
  readonly #free: Uint16Array;
  #freeCount: number;
  /** Of each request: parts that are not over, and the first error of the others. */
  readonly #left: Uint16Array;
  readonly #errors: Int32Array;

  /** The request that is being put together: its parts by operation. */
  #request = 0;
  #length = 0;
  #count = 0;
  readonly #operations: Uint16Array;
  readonly #hosts: Float64Array;
  readonly #lengths: Float64Array;
  readonly #counts: Uint32Array;
  #parts = 0;
  /** The segment that holds byte `#skip` of the request, and how many bytes of the segment are before that. */
  #segment = 0;
  #ahead = 0;
  #skip = 0;

  /** @param raw the file, with `OPERATIONS_PER_REQUEST` tags for each request */
  constructor(raw: RawDisk) {
    this.#raw = raw;
    this.tags = Math.max(1, Math.floor(raw.tags / OPERATIONS_PER_REQUEST));
    this.#owners = Uint16Array.from({ length: raw.tags }, (_, operation) => operation);
    this.#freeCount = raw.tags - this.tags;
    this.#free = Uint16Array.from({ length: this.#freeCount }, (_, i) => this.tags + i);
    this.#left = new Uint16Array(this.tags);
    this.#errors = new Int32Array(this.tags);
    this.#operations = new Uint16Array(raw.tags);
    this.#hosts = new Float64Array(raw.tags);
    this.#lengths = new Float64Array(raw.tags);
    this.#counts = new Uint32Array(raw.tags);
  }

  /** Begins a request whose segments are filled. @param length bytes @param count segments */
  begin(tag: number, length: number, count: number): void {
    this.#request = tag;
    this.#length = length;
    this.#count = count;
    this.#parts = 0;
    this.#segment = 0;
    this.#ahead = 0;
    this.#skip = 0;
  }

  /**
   * Adds a part.
   * @param skip bytes of the request before it
   * @param host where in the file it is
   * @returns false when there is no operation left for it
   */
  add(skip: number, host: number, length: number): boolean {
    if (length === this.#length) {
      this.#push(this.#request, host, length, this.#count);
      return true;
    }
    if (this.#freeCount === 0) return false;
    const operation = this.#free[--this.#freeCount] ?? 0;
    this.#owners[operation] = this.#request;
    this.#push(operation, host, length, this.#cut(operation, skip, length));
    return true;
  }

  /** Starts all parts. A request without any is over. */
  start(kind: "read" | "write"): void {
    const tag = this.#request;
    if (this.#parts === 0) {
      this.finish(tag, 0);
      return;
    }
    this.#enter(tag, this.#parts);
    for (let i = 0; i < this.#parts; i++) {
      const operation = this.#operations[i] ?? 0;
      const host = this.#hosts[i] ?? 0;
      if (kind === "read") this.#raw.read(operation, host, this.#lengths[i] ?? 0, this.#counts[i] ?? 0);
      else this.#raw.write(operation, host, this.#lengths[i] ?? 0, this.#counts[i] ?? 0);
    }
    this.#parts = 0;
  }

  /** Ends the request instead, none of whose parts has been started. @param error an errno */
  abandon(error: number): void {
    for (let i = 0; i < this.#parts; i++) this.#release(this.#operations[i] ?? 0);
    this.#parts = 0;
    this.finish(this.#request, error);
  }

  /** Has `next` give a request back that was carried out elsewhere. @param error 0 or an errno */
  finish(tag: number, error: number): void {
    this.#enter(tag, 1);
    this.#raw.finish(tag, error);
  }

  /** Starts making durable what the file holds. */
  flush(tag: number): void {
    this.#enter(tag, 1);
    this.#raw.flush(tag);
  }

  /** Takes the next request that is over into `tag` and `error`. @returns whether there was one */
  next(): boolean {
    const raw = this.#raw;
    while (raw.next()) {
      const operation = raw.tag;
      const tag = this.#owners[operation] ?? 0;
      if (raw.error !== 0 && this.#errors[tag] === 0) this.#errors[tag] = raw.error;
      this.#release(operation);
      const left = (this.#left[tag] ?? 0) - 1;
      this.#left[tag] = left;
      if (left > 0) continue;
      this.underWay--;
      this.tag = tag;
      this.error = this.#errors[tag] ?? 0;
      return true;
    }
    return false;
  }

  #enter(tag: number, parts: number): void {
    this.underWay++;
    this.#left[tag] = parts;
    this.#errors[tag] = 0;
  }

  #push(operation: number, host: number, length: number, count: number): void {
    const at = this.#parts++;
    this.#operations[at] = operation;
    this.#hosts[at] = host;
    this.#lengths[at] = length;
    this.#counts[at] = count;
  }

  #release(operation: number): void {
    if (operation >= this.tags) this.#free[this.#freeCount++] = operation;
  }

  /** Fills the segments of an operation with part of the request's. @returns how many there are */
  #cut(operation: number, skip: number, length: number): number {
    const from = this.#raw.segments(this.#request);
    const to = this.#raw.segments(operation);
    this.#ahead += skip - this.#skip;
    let count = 0;
    for (let left = length; ; ) {
      const size = segmentLength(from, this.#segment);
      if (this.#ahead >= size) {
        this.#ahead -= size;
        this.#segment++;
        continue;
      }
      const part = Math.min(size - this.#ahead, left);
      setIovec(to, count++, segmentAddress(from, this.#segment) + this.#ahead, part);
      this.#ahead += part;
      left -= part;
      if (left === 0) break;
    }
    this.#skip = skip + length;
    return count;
  }
}
