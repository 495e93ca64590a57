import type { GivenKeys } from "../grammar/given-keys.ts";
import {
  type Config,
  composed,
  jsonOnly,
  type Key,
  type Member,
  objectSchema,
  optional,
  required,
  withDefault,
} from "./object-schema.ts";
import { string, u64 } from "./value-types.ts";

export const tokenBucketSchema = objectSchema("TokenBucket", () => ({
  size: required(u64, "tokens that the bucket holds: bytes or operations"),
  one_time_burst: optional(u64, "tokens there are at first, on top of the size", { json: { printNull: true } }),
  refill_time: required(u64, "milliseconds that refilling takes"),
}));
export type TokenBucket = Config<typeof tokenBucketSchema>;

const bucketForm = { kind: "object", schema: tokenBucketSchema } as const;

export const rateLimiterSchema = objectSchema(
  "RateLimiterConfig",
  () => ({
    bandwidth: jsonOnly<TokenBucket, "optional">("optional", bucketForm, "limit in bytes", {
      traits: { printNull: true },
    }),
    ops: jsonOnly<TokenBucket, "optional">("optional", bucketForm, "limit in operations", {
      traits: { printNull: true },
    }),
  }),
  { closed: true },
);
export type RateLimiterConfig = Config<typeof rateLimiterSchema>;

const limiterForm = { kind: "object", schema: rateLimiterSchema } as const;

function bucketKeys(prefix: string, unit: string): readonly Key[] {
  const key = (name: string, doc: string): Key => ({
    name: `${prefix}_${name}`,
    label: u64.label,
    doc,
    defaultText: "0",
  });
  return [
    key("size", `${unit} that may pass in ${prefix}_refill_time; 0 for no limit`),
    key("one_time_burst", `${unit} that may pass at first, on top of ${prefix}_size`),
    key("refill_time", "milliseconds"),
  ];
}

const limiterKeys: readonly Key[] = [...bucketKeys("bw", "bytes"), ...bucketKeys("ops", "operations")];

/** A bucket without a size or without a time limits nothing: it does not exist. */
function readBucket(given: GivenKeys, prefix: string): TokenBucket | undefined {
  const number = (name: string) => given.value(`${prefix}_${name}`, u64.parse) ?? 0;
  const bucket = { size: number("size"), one_time_burst: number("one_time_burst"), refill_time: number("refill_time") };
  return bucket.size === 0 || bucket.refill_time === 0 ? undefined : bucket;
}

function readLimiter(given: GivenKeys): RateLimiterConfig {
  const bandwidth = readBucket(given, "bw");
  const ops = readBucket(given, "ops");
  return { ...(bandwidth && { bandwidth }), ...(ops && { ops }) };
}

/** The limiter of one device: the six `bw_` and `ops_` keys. */
export const rateLimiter: Member<RateLimiterConfig, "optional"> = composed(
  "optional",
  limiterForm,
  "limits on the device's traffic",
  limiterKeys,
  (given) => {
    const limiter = readLimiter(given);
    return limiter.bandwidth === undefined && limiter.ops === undefined ? undefined : limiter;
  },
);

export const rateLimitGroupSchema = objectSchema("RateLimitGroupConfig", () => ({
  id: withDefault(string, "", "name of the group, unique in the VM; must not be empty"),
  rate_limiter_config: composed<RateLimiterConfig, "present">(
    "present",
    limiterForm,
    "limits that the members of the group share",
    limiterKeys,
    readLimiter,
    { initial: {} },
  ),
}));
export type RateLimitGroupConfig = Config<typeof rateLimitGroupSchema>;
