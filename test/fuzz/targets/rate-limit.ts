import { OptionTextError } from "../../../src/config/grammar/errors.ts";
import { decodeJson } from "../../../src/config/json/decode.ts";
import { JsonError } from "../../../src/config/json/errors.ts";
import { parseOption } from "../../../src/config/schema/object-schema.ts";
import {
  type RateLimitGroupConfig,
  rateLimitGroupSchema,
  type TokenBucket,
} from "../../../src/config/schema/rate-limiter.ts";
import { RateGate } from "../../../src/devices/rate-limit/rate-gate.ts";
import { RateLimiter } from "../../../src/devices/rate-limit/rate-limiter.ts";
import { SharedArena } from "../../../src/threads/arena.ts";
import { Descriptors } from "../../../src/vmm/descriptors.ts";
import { RateLimiters } from "../../../src/vmm/devices/rate-limiters.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";

const GATES = 3;
const MOST_ACTS = 64;
const NUMBERS: readonly [string, ...string[]] = [
  "0",
  "1",
  "2",
  "1000",
  "65536",
  "9007199254740991",
  "18446744073709551615",
  "18446744073709551616",
  "-1",
  "0.5",
  "",
];
/** Of sums of doubles. */
const PRECISION = 1e-6;
/** Of times, which are doubles. */
const CLOCK_PRECISION = 2 ** -51;
/** A clock that has run for a century. */
const LATEST_NS = 3e18;

/** An operation that may go ahead at some time. */
interface Passage {
  readonly atNs: number;
  readonly tokens: number;
}

export const target: FuzzTarget = {
  what: "rate limiters: any limits, and queues whose operations pass, wait and give up",
  maxBytes: 512,
  seeds: () => [Uint8Array.of(0, 5, 3, 3, 3, 3, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7)],
  open: () => {
    const arena = new SharedArena(1 << 16);
    const descriptors = new Descriptors();
    let now = 0;
    return (input) => {
      arena.reset();
      now = Math.min(input.edge(64), LATEST_NS);
      const group = groupOf(input);
      if (group === undefined) return;
      const wirings = new RateLimiters(arena, [group]).gates({ arena, descriptors }, GATES, undefined, group.id) ?? [];
      const gates = wirings.map((wiring) => new RateGate(wiring, () => now));
      const [{ limiter } = { limiter: undefined }] = wirings;
      if (limiter === undefined) throw new Error("a group without a limiter");
      const direct = new RateLimiter(limiter);
      const begun = now;
      /** By gate, bytes of the operation that it closed behind. */
      const waiting = gates.map(() => 0);
      const passages: { readonly bytes: Passage[]; readonly operations: Passage[] } = { bytes: [], operations: [] };
      for (let acts = 0; acts < MOST_ACTS && !input.isEmpty; acts++) {
        const at = input.below(GATES);
        const gate = gates[at];
        const bytes = input.bool() ? input.u16() : input.edge(53);
        switch (input.below(8)) {
          case 0:
            now = Math.min(now + input.edge(62), LATEST_NS);
            break;
          case 1:
            if (gate?.isOpen === false) gate.giveUp(waiting[at] ?? 0);
            break;
          case 2:
          case 3: {
            const atNs = direct.take(bytes, now);
            if (!(atNs >= now)) throw new Error(`an operation at ${now} may go ahead at ${atNs}`);
            passages.bytes.push({ atNs, tokens: bytes });
            passages.operations.push({ atNs, tokens: 1 });
            break;
          }
          default:
            if (gate?.isOpen !== true) break;
            waiting[at] = bytes;
            if (gate.pass(bytes) !== gate.isOpen) throw new Error("a gate is not as it says");
        }
      }
      descriptors.close();
      const { bandwidth, ops } = group.rate_limiter_config;
      checkRate("bytes", bandwidth, passages.bytes, begun);
      checkRate("operations", ops, passages.operations, begun);
    };
  },
};

/** A group as the command line or the API gives it; undefined for one that is refused. */
function groupOf(input: Input): RateLimitGroupConfig | undefined {
  try {
    if (input.below(4) === 1) return decodeJson(rateLimitGroupSchema, jsonOf(input));
    const keys = [
      "bw_size",
      "bw_one_time_burst",
      "bw_refill_time",
      "ops_size",
      "ops_one_time_burst",
      "ops_refill_time",
    ];
    const given = keys.filter(() => input.below(8) !== 1).map((key) => `${key}=${number(input)}`);
    return parseOption(rateLimitGroupSchema, ["id=g", ...given].join(","));
  } catch (error) {
    if (error instanceof OptionTextError || error instanceof JsonError) return undefined;
    throw error;
  }
}

const number = (input: Input): string =>
  input.bool() ? String(Math.round(input.edge(64))) : input.bool() ? String(input.u8()) : input.pick(NUMBERS);

function jsonOf(input: Input): string {
  const bucket = (): string =>
    input.below(8) === 1
      ? "null"
      : `{"size":${number(input)},"one_time_burst":${number(input)},"refill_time":${number(input)}}`;
  return `{"id":"g","rate_limiter_config":{"bandwidth":${bucket()},"ops":${bucket()}}}`;
}

/**
 * Checks that no more goes ahead by any time than the bucket, its burst and what has come back allow, but for the one operation
 * that may be larger than the bucket.
 */
function checkRate(what: string, bucket: TokenBucket | undefined, passages: readonly Passage[], begunNs: number): void {
  if (bucket === undefined || bucket.size === 0 || bucket.refill_time === 0) return;
  const { size, one_time_burst = 0, refill_time } = bucket;
  const sorted = passages.toSorted((a, b) => a.atNs - b.atNs);
  const largest = Math.max(0, ...sorted.map(({ tokens }) => tokens));
  let sum = 0;
  for (const { atNs, tokens } of sorted) {
    sum += tokens;
    const elapsedNs = atNs - begunNs + atNs * CLOCK_PRECISION;
    const back = (elapsedNs / (refill_time * 1e6)) * size;
    const allowed = size + one_time_burst + back + Math.max(0, largest - size);
    if (sum > (allowed + 1) * (1 + PRECISION))
      throw new Error(`${sum} ${what} by ${atNs - begunNs} ns, not ${allowed}`);
  }
}
