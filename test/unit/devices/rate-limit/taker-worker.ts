import { RateLimiter } from "../../../../src/devices/rate-limit/rate-limiter.ts";
import type { BlockRef } from "../../../../src/threads/block-ref.ts";
import { serveJobs } from "../../../../src/threads/serve-jobs.ts";

/** What the worker is told. */
export interface TakerJob {
  readonly limiter: BlockRef;
  readonly takes: number;
}

/** Takes operations as fast as it can, at time 0, and tells when the last may go ahead. */
serveJobs(({ limiter, takes }: TakerJob): number => {
  const shared = new RateLimiter(limiter);
  let latest = 0;
  for (let i = 0; i < takes; i++) latest = Math.max(latest, shared.take(0, 0));
  return latest;
});
