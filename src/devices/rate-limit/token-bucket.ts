import { f64, struct, type ViewOf } from "../../host/struct.ts";

/** How much may pass. */
export interface BucketLimits {
  /** Tokens that the bucket holds. */
  readonly size: number;
  /** Tokens there are at first, on top of the size; they are spent before the others and never come back. */
  readonly oneTimeBurst: number;
  /** Milliseconds in which an empty bucket fills. */
  readonly refillMs: number;
}

/** A token bucket. All zero, it limits nothing. */
export const tokenBucketState = struct("token bucket", {
  size: f64,
  /** Time in which one token comes back. */
  nsPerToken: f64,
  /** What is left of the one-time burst. */
  burst: f64,
  /** Tokens there were at `at`. Below zero, as many are owed: the bucket fills from there. */
  level: f64,
  /** Nanoseconds of the limiter's clock. */
  at: f64,
});
export type TokenBucketState = ViewOf<typeof tokenBucketState>;

/** Fills a new bucket to the brim. A size or a time of zero limits nothing. */
export function fillBucket(bucket: TokenBucketState, { size, oneTimeBurst, refillMs }: BucketLimits): void {
  bucket.size = size;
  bucket.nsPerToken = size === 0 ? 0 : (refillMs * 1e6) / size;
  bucket.burst = oneTimeBurst;
  bucket.level = size;
  bucket.at = 0;
}

/**
 * Takes tokens, those that are not there yet included: whoever comes next waits behind this caller. The caller goes ahead
 * when all of its tokens are there; one who takes more than the bucket holds does so when it is full, and those behind wait
 * until the rest is paid off.
 * @param nowNs not much before what earlier callers gave: the clocks of threads may be read out of order
 * @returns when the caller may go ahead: `nowNs` or later
 */
export function takeTokens(bucket: TokenBucketState, tokens: number, nowNs: number): number {
  const { size, nsPerToken } = bucket;
  if (nsPerToken === 0) return nowNs;
  const at = Math.max(bucket.at, nowNs);
  const fromBurst = Math.min(bucket.burst, tokens);
  const cost = tokens - fromBurst;
  const level = Math.min(size, bucket.level + (at - bucket.at) / nsPerToken) - cost;
  bucket.burst -= fromBurst;
  bucket.level = level;
  bucket.at = at;
  const missing = -level - Math.max(0, cost - size);
  return cost === 0 || missing <= 0 ? nowNs : at + missing * nsPerToken;
}

/** Gives back what was taken and not used. While there is burst left it is there that it came from. */
export function giveTokensBack(bucket: TokenBucketState, tokens: number): void {
  if (bucket.nsPerToken === 0) return;
  if (bucket.burst > 0) bucket.burst += tokens;
  else bucket.level = Math.min(bucket.size, bucket.level + tokens);
}
