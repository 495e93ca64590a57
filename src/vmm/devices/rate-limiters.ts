import type { RateLimiterConfig, RateLimitGroupConfig, TokenBucket } from "../../config/schema/rate-limiter.ts";
import type { RateGateWiring } from "../../devices/rate-limit/rate-gate.ts";
import { RateLimiter } from "../../devices/rate-limit/rate-limiter.ts";
import type { BucketLimits } from "../../devices/rate-limit/token-bucket.ts";
import { createTimerFd } from "../../host/timerfd.ts";
import type { SharedArena } from "../../threads/arena.ts";
import { type BlockRef, refTo } from "../../threads/block-ref.ts";
import type { Descriptors } from "../descriptors.ts";

/** Makes the rate limiters of a VM's devices and the gates of their queues, and has the limiters of its groups. */
export class RateLimiters {
  readonly #arena: SharedArena;
  readonly #descriptors: Descriptors;
  readonly #groups: ReadonlyMap<string, BlockRef>;

  /** @throws RangeError when the arena is full */
  constructor(arena: SharedArena, descriptors: Descriptors, groups: readonly RateLimitGroupConfig[] = []) {
    this.#arena = arena;
    this.#descriptors = descriptors;
    this.#groups = new Map(groups.map(({ id, rate_limiter_config }) => [id, this.#make(rate_limiter_config)]));
  }

  /**
   * The gates of queues that share limits: those of a group, or of their own.
   * @param count queues
   * @returns undefined without limits
   * @throws RangeError when the arena is full, SysError
   */
  gates(count: number, own: RateLimiterConfig | undefined, group?: string): RateGateWiring[] | undefined {
    const limiter = group === undefined ? own && this.#make(own) : this.#groups.get(group);
    return (
      limiter && Array.from({ length: count }, () => ({ limiter, timerFd: this.#descriptors.own(createTimerFd()) }))
    );
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
