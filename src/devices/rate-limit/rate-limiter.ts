import { nested, struct, type ViewOf } from "../../host/struct.ts";
import { type BlockRef, blockAt } from "../../threads/block-ref.ts";
import type { Lock } from "../../threads/lock.ts";
import { StateBlock } from "../../threads/state-block.ts";
import { type BucketLimits, fillBucket, giveTokensBack, takeTokens, tokenBucketState } from "./token-bucket.ts";

/** Limits of a device, or of several together. */
export interface RateLimits {
  /** Tokens are bytes. */
  readonly bandwidth: BucketLimits | undefined;
  /** Tokens are operations. */
  readonly ops: BucketLimits | undefined;
}

const rateLimiterState = struct("rate limiter", {
  bandwidth: nested(tokenBucketState),
  ops: nested(tokenBucketState),
});

/**
 * Limits bytes and operations, for any number of queues on any threads: each makes its own instance over the same block.
 * Those who have to wait are served in the order in which they asked, an operation at a time, so none is left behind.
 */
export class RateLimiter {
  /** Bytes of a block. */
  static readonly size = StateBlock.sizeOf(rateLimiterState);
  readonly #lock: Lock;
  readonly #state: ViewOf<typeof rateLimiterState>;

  constructor(ref: BlockRef) {
    const { lock, state } = new StateBlock(rateLimiterState, blockAt(ref));
    this.#lock = lock;
    this.#state = state;
  }

  /** Fills the buckets of a new limiter; its block is zero before. */
  fill({ bandwidth, ops }: RateLimits): void {
    if (bandwidth !== undefined) fillBucket(this.#state.bandwidth, bandwidth);
    if (ops !== undefined) fillBucket(this.#state.ops, ops);
  }

  /**
   * Takes the tokens of one operation: `takeTokens` of both buckets.
   * @param nowNs of `monotonicNs`
   * @returns when it may go ahead: `nowNs` or later
   */
  take(bytes: number, nowNs: number): number {
    this.#lock.acquire();
    const { bandwidth, ops } = this.#state;
    const ready = Math.max(takeTokens(ops, 1, nowNs), takeTokens(bandwidth, bytes, nowNs));
    this.#lock.release();
    return ready;
  }

  /** Gives the tokens of an operation back that does not go ahead. */
  giveBack(bytes: number): void {
    this.#lock.acquire();
    giveTokensBack(this.#state.ops, 1);
    giveTokensBack(this.#state.bandwidth, bytes);
    this.#lock.release();
  }
}
