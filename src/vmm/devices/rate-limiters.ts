import type { RateLimiterConfig, RateLimitGroupConfig, TokenBucket } from "../../config/schema/rate-limiter.ts";
import type { RateGateWiring } from "../../devices/rate-limit/rate-gate.ts";
import { RateLimiter } from "../../devices/rate-limit/rate-limiter.ts";
import type { BucketLimits } from "../../devices/rate-limit/token-bucket.ts";
import { createTimerFd } from "../../host/timerfd.ts";
import type { SharedArena } from "../../threads/arena.ts";
import { type BlockRef, refTo } from "../../threads/block-ref.ts";
import type { Descriptors } from "../descriptors.ts";

/** The rate limiters of a VM's groups, which last as long as the VM, and those of its devices. */
export class RateLimiters {
  readonly #groups: ReadonlyMap<string, BlockRef>;

  /** @throws RangeError when the arena is full */
  constructor(arena: SharedArena, groups: readonly RateLimitGroupConfig[] = []) {
    this.#groups = new Map(groups.map(({ id, rate_limiter_config }) => [id, make(arena, rate_limiter_config)]));
  }

  /**
   * The gates of a device's queues, which share limits: those of a group, or of their own.
   * @param owner the device's memory and descriptors
   * @param count queues
   * @returns undefined without limits
   * @throws RangeError when the arena is full, SysError
   */
  gates(
    { arena, descriptors }: { readonly arena: SharedArena; readonly descriptors: Descriptors },
    count: number,
    own: RateLimiterConfig | undefined,
    group?: string,
  ): RateGateWiring[] | undefined {
    const limiter = group === undefined ? own && make(arena, own) : this.#groups.get(group);
    return limiter && Array.from({ length: count }, () => ({ limiter, timerFd: descriptors.own(createTimerFd()) }));
  }
}

function make(arena: SharedArena, { bandwidth, ops }: RateLimiterConfig): BlockRef {
  const ref = refTo(arena.allocate(RateLimiter.size));
  new RateLimiter(ref).fill({ bandwidth: bandwidth && limits(bandwidth), ops: ops && limits(ops) });
  return ref;
}

const limits = ({ size, one_time_burst = 0, refill_time }: TokenBucket): BucketLimits => ({
  size,
  oneTimeBurst: one_time_burst,
  refillMs: refill_time,
});
