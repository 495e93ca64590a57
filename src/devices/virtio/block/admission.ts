import type { RateGate } from "../../rate-limit/rate-gate.ts";
import { NO_CHAIN, type Queue } from "../queue/queue.ts";
import { HEADER_BYTES, STATUS_BYTES } from "./protocol.ts";

/**
 * Takes requests from a ring as fast as a rate limiter lets them pass. One that has to wait stays in the ring's `chain` as it
 * was when it was paid for, so that the driver cannot make it another meanwhile; nothing is taken from the ring behind it.
 */
export class Admission {
  readonly #gate: RateGate | undefined;
  #held = NO_CHAIN;
  #heldBytes = 0;

  /** @param gate without it nothing is limited */
  constructor(gate: RateGate | undefined) {
    this.#gate = gate;
  }

  /** Whether a request waits for the limiter, whose timer tells when to look again. */
  get isHolding(): boolean {
    return this.#held !== NO_CHAIN;
  }

  /** Takes the next request that may start into the ring's `chain`. @returns its head, or `NO_CHAIN` @throws QueueError */
  next(ring: Queue): number {
    const gate = this.#gate;
    if (gate === undefined) return ring.pop();
    if (this.#held !== NO_CHAIN) {
      if (!gate.isOpen) return NO_CHAIN;
      const head = this.#held;
      this.#held = NO_CHAIN;
      return head;
    }
    const head = ring.pop();
    if (head === NO_CHAIN) return head;
    const { readableBytes, writableBytes } = ring.chain;
    // All but header and status is data. The type does not matter, as the driver could change it after it was looked at.
    const bytes = Math.max(0, readableBytes + writableBytes - HEADER_BYTES - STATUS_BYTES);
    if (gate.pass(bytes)) return head;
    this.#held = head;
    this.#heldBytes = bytes;
    return NO_CHAIN;
  }

  /** Puts a request that waits back, into the ring and into the limiter. @param ring undefined when it is corrupt */
  putBack(ring: Queue | undefined): void {
    if (this.#held === NO_CHAIN) return;
    ring?.unpop(this.#held);
    this.#held = NO_CHAIN;
    this.#gate?.giveUp(this.#heldBytes);
  }
}
