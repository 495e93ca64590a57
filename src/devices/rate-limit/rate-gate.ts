import { monotonicNs } from "../../host/clock.ts";
import { setTimerFd } from "../../host/timerfd.ts";
import type { BlockRef } from "../../threads/block-ref.ts";
import { RateLimiter } from "./rate-limiter.ts";

/** A gate as plain data. */
export interface RateGateWiring {
  /** The filled `RateLimiter`, that others may share. */
  readonly limiter: BlockRef;
  /** A timer for this gate alone (`createTimerFd`). */
  readonly timerFd: number;
}

/**
 * A queue's way through its rate limiter, on the queue's thread. The gate closes behind an operation whose tokens are not
 * there yet, and the thread, which waits for `timerFd` among others, is woken when it opens.
 *
 * A device that knows the size of an operation beforehand asks `pass` before it starts one; one that does not asks
 * afterwards, and starts the next when the gate is open.
 */
export class RateGate {
  /** Becomes readable when a closed gate opens. Nobody has to read it: it is to be watched edge-triggered. */
  readonly timerFd: number;
  readonly #limiter: RateLimiter;
  readonly #clock: () => number;
  #opensAt = 0;

  /** @param clock gives nanoseconds, those of `monotonicNs` but in tests */
  constructor({ limiter, timerFd }: RateGateWiring, clock = monotonicNs) {
    this.#limiter = new RateLimiter(limiter);
    this.#clock = clock;
    this.timerFd = timerFd;
  }

  /**
   * Pays for one operation.
   * @returns whether the gate is open; otherwise it opens when what was paid is there
   */
  pass(bytes: number): boolean {
    const now = this.#clock();
    const opensAt = this.#limiter.take(bytes, now);
    if (opensAt <= now) return true;
    this.#opensAt = opensAt;
    setTimerFd(this.timerFd, opensAt);
    return false;
  }

  /** Whether the way is free. */
  get isOpen(): boolean {
    if (this.#opensAt !== 0 && this.#clock() >= this.#opensAt) this.#opensAt = 0;
    return this.#opensAt === 0;
  }

  /** Opens the gate without the operation that waits at it, which gets its tokens back. */
  giveUp(bytes: number): void {
    this.#limiter.giveBack(bytes);
    this.#opensAt = 0;
  }
}
