import type { Queue } from "./queue.ts";

type Ring = Pick<Queue, "hasChains">;

/** Polls are no longer than this: what a sleep costs and the notification that ends it, and a little more. */
const MAX_POLL_MS = 0.032;
/** Where polls begin. */
const MIN_POLL_MS = 0.004;
/** A driver comes back soon when it has done so this often in a row: on a host that is busy otherwise it may do so by chance. */
const SOON_IN_A_ROW = 2;
/** Looks at the ring between two looks at the clock. */
const LOOKS = 16;

/**
 * Looks at a ring for a little while before its thread goes to sleep. A driver that comes back within microseconds is then served
 * without the exit and the wake-up of a notification, which cost more than what it asks for.
 *
 * How long follows the driver: twice as long when it came back soon after polls were given up, not at all any more when it stayed
 * away for longer than any poll. So a thread does not poll whose driver is idle, or gets no CPU while the thread has it.
 */
export class IdlePoll {
  #budgetMs = 0;
  #soon = 0;
  /** When the last poll began, until the thread has slept since. */
  #begunMs: number | undefined;
  readonly #now: () => number;

  /** @param now a clock, in milliseconds */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** @returns whether the driver has made chains available; if not, the thread is to sleep, and to say so with `woke` */
  poll(ring: Ring): boolean {
    const begunMs = this.#now();
    if (this.#budgetMs > 0)
      do {
        for (let looks = 0; looks < LOOKS; looks++) {
          if (ring.hasChains()) return true;
          Atomics.pause();
        }
      } while (this.#now() - begunMs < this.#budgetMs);
    this.#begunMs = begunMs;
    return false;
  }

  /** The thread has slept. */
  woke(): void {
    if (this.#begunMs === undefined) return;
    const idleMs = this.#now() - this.#begunMs;
    this.#begunMs = undefined;
    if (idleMs >= MAX_POLL_MS) {
      this.#soon = 0;
      this.#budgetMs = 0;
    } else if (++this.#soon >= SOON_IN_A_ROW)
      this.#budgetMs = Math.min(Math.max(this.#budgetMs * 2, MIN_POLL_MS), MAX_POLL_MS);
  }
}
