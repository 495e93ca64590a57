import type { RateLimiterConfig, RateLimitGroupConfig, TokenBucket } from "../../config/schema/rate-limiter.ts";
import { RateLimiter } from "../../devices/rate-limit/rate-limiter.ts";
import type { BucketLimits } from "../../devices/rate-limit/token-bucket.ts";
import type { SharedArena } from "../../threads/arena.ts";
import { type BlockRef, refTo } from "../../threads/block-ref.ts";

/** Makes the rate limiters of a VM's devices, and has those of its groups. */
export class RateLimiters {
  readonly #arena: SharedArena;
  readonly #groups: ReadonlyMap<string, BlockRef>;

  /** @throws RangeError when the arena is full */
  constructor(arena: SharedArena, groups: readonly RateLimitGroupConfig[] = []) {
    this.#arena = arena;
    this.#groups = new Map(groups.map(({ id, rate_limiter_config }) => [id, this.#make(rate_limiter_config)]));
  }

  /**
   * The limiter of a device: that of its group, one of its own, or none.
   * @throws RangeError when the arena is full
   */
  of(own: RateLimiterConfig | undefined, group?: string): BlockRef | undefined {
    if (group !== undefined) return this.#groups.get(group);
    return own && this.#make(own);
  }

  #make({ bandwidth, ops }: RateLimiterConfig): BlockRef {
    const ref = refTo(this.#arena.allocate(RateLimiter.size));
    new RateLimiter(ref).fill({ bandwidth: bandwidth && limits(bandwidth), ops: ops && limits(ops) });
    return ref;
  }
}

const limits = ({ size, one_time_burst = 0, refill_time }: TokenBucket): BucketLimits => ({
  size,
  oneTimeBurst: one_time_burst,
  refillMs: refill_time,
});
