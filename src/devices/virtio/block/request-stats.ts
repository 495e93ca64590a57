import { monotonicNs } from "../../../host/clock.ts";
import { BlockCounter, Direction } from "./counters.ts";

/**
 * Counts a queue's successful reads and writes and how long they take, from the time they were found in the ring to that at
 * which their end was noticed. The clock is read once for all requests that start or end together.
 */
export class RequestStats {
  readonly #counters: Float64Array;
  readonly #clock: () => number;
  /** Of the request under each tag. */
  readonly #directions: Uint8Array;
  readonly #bytes: Float64Array;
  readonly #startedNs: Float64Array;
  /** The time of the present batch; 0 when the clock has not been read for it. */
  #nowNs = 0;

  /**
   * @param counters the queue's, by `BlockCounter`
   * @param tags requests that may be under way at once
   * @param clock gives nanoseconds
   */
  constructor(counters: Float64Array, tags: number, clock = monotonicNs) {
    this.#counters = counters;
    this.#clock = clock;
    this.#directions = new Uint8Array(tags);
    this.#bytes = new Float64Array(tags);
    this.#startedNs = new Float64Array(tags);
  }

  /** What follows, until the next call, takes place at one time. */
  beginBatch(): void {
    this.#nowNs = 0;
  }

  /** A request starts. */
  started(tag: number, direction: Direction, bytes: number): void {
    this.#directions[tag] = direction;
    this.#bytes[tag] = bytes;
    this.#startedNs[tag] = this.#now();
  }

  /** A request has succeeded. */
  succeeded(tag: number): void {
    const direction = this.#directions[tag] ?? Direction.NEITHER;
    if (direction === Direction.NEITHER) return;
    const counters = this.#counters;
    const us = Math.floor((this.#now() - (this.#startedNs[tag] ?? 0)) / 1000);
    const ops = counters[BlockCounter.OPS + direction] ?? 0;
    const min = BlockCounter.LATENCY_MIN + direction;
    const max = BlockCounter.LATENCY_MAX + direction;
    if (ops === 0 || us < (counters[min] ?? 0)) counters[min] = us;
    if (us > (counters[max] ?? 0)) counters[max] = us;
    this.#add(BlockCounter.LATENCY_SUM + direction, us);
    this.#add(BlockCounter.BYTES + direction, this.#bytes[tag] ?? 0);
    counters[BlockCounter.OPS + direction] = ops + 1;
  }

  #add(counter: number, amount: number): void {
    this.#counters[counter] = (this.#counters[counter] ?? 0) + amount;
  }

  #now(): number {
    if (this.#nowNs === 0) this.#nowNs = this.#clock();
    return this.#nowNs;
  }
}
