import { describe, expect, test } from "bun:test";
import {
  type BucketLimits,
  fillBucket,
  giveTokensBack,
  takeTokens,
  tokenBucketState,
} from "../../../../src/devices/rate-limit/token-bucket.ts";
import { mapAnonymous, munmap } from "../../../../src/host/mmap.ts";
import { Random } from "../../random.ts";

const MS = 1e6;
/** The clock's start: as on a host that has been up for a year. */
const START = 365 * 24 * 3600 * 1e9;

function withBucket<T>(limits: BucketLimits, use: (bucket: ReturnType<typeof tokenBucketState.at>) => T): T {
  const block = mapAnonymous(tokenBucketState.size);
  try {
    const bucket = tokenBucketState.at(block);
    fillBucket(bucket, limits);
    return use(bucket);
  } finally {
    munmap(block.address, block.size);
  }
}

describe("a token bucket", () => {
  test("starts full, and then gives as fast as it refills", () => {
    withBucket({ size: 10, oneTimeBurst: 0, refillMs: 100 }, (bucket) => {
      for (let i = 0; i < 10; i++) expect(takeTokens(bucket, 1, START)).toBe(START);
      expect(takeTokens(bucket, 1, START)).toBe(START + 10 * MS);
      expect(takeTokens(bucket, 2, START)).toBe(START + 30 * MS);
      expect(takeTokens(bucket, 1, START + 35 * MS)).toBe(START + 40 * MS);
      expect(takeTokens(bucket, 1, START + 50 * MS)).toBe(START + 50 * MS);
    });
  });

  test("holds no more than its size, however long nobody takes", () => {
    withBucket({ size: 10, oneTimeBurst: 0, refillMs: 100 }, (bucket) => {
      takeTokens(bucket, 10, START);
      const later = START + 3600e9;
      expect(takeTokens(bucket, 10, later)).toBe(later);
      expect(takeTokens(bucket, 1, later)).toBe(later + 10 * MS);
    });
  });

  test("spends the one-time burst first and never gets it back", () => {
    withBucket({ size: 10, oneTimeBurst: 25, refillMs: 100 }, (bucket) => {
      for (let i = 0; i < 7; i++) expect(takeTokens(bucket, 5, START)).toBe(START);
      expect(takeTokens(bucket, 1, START)).toBe(START + 10 * MS);
      const later = START + 3600e9;
      expect(takeTokens(bucket, 10, later)).toBe(later);
      expect(takeTokens(bucket, 1, later)).toBe(later + 10 * MS);
    });
  });

  test("lets more than its size pass when it is full, and has those behind pay the rest", () => {
    withBucket({ size: 10, oneTimeBurst: 0, refillMs: 100 }, (bucket) => {
      expect(takeTokens(bucket, 30, START)).toBe(START);
      expect(takeTokens(bucket, 1, START)).toBe(START + 210 * MS);
      expect(takeTokens(bucket, 30, START)).toBe(START + 310 * MS);
      expect(takeTokens(bucket, 1, START)).toBe(START + 520 * MS);
    });
  });

  test("takes tokens back, into the burst while there is some", () => {
    withBucket({ size: 10, oneTimeBurst: 0, refillMs: 100 }, (bucket) => {
      takeTokens(bucket, 10, START);
      expect(takeTokens(bucket, 4, START)).toBe(START + 40 * MS);
      giveTokensBack(bucket, 4);
      expect(takeTokens(bucket, 1, START)).toBe(START + 10 * MS);
      giveTokensBack(bucket, 1000);
      expect(takeTokens(bucket, 10, START)).toBe(START);
      expect(takeTokens(bucket, 1, START)).toBe(START + 10 * MS);
    });
    withBucket({ size: 10, oneTimeBurst: 20, refillMs: 100 }, (bucket) => {
      takeTokens(bucket, 15, START);
      giveTokensBack(bucket, 15);
      expect(takeTokens(bucket, 30, START)).toBe(START);
      expect(takeTokens(bucket, 1, START)).toBe(START + 10 * MS);
    });
  });

  test.each([
    { size: 0, oneTimeBurst: 5, refillMs: 100 },
    { size: 5, oneTimeBurst: 5, refillMs: 0 },
  ])("limits nothing without a size or a time: %p", (limits) => {
    withBucket(limits, (bucket) => {
      for (let i = 0; i < 100; i++) expect(takeTokens(bucket, 1e9, START)).toBe(START);
      giveTokensBack(bucket, 7);
      expect(takeTokens(bucket, 1e9, START)).toBe(START);
    });
  });

  test("bears clocks that are read out of order, and the largest numbers", () => {
    withBucket({ size: 1, oneTimeBurst: 0, refillMs: 10 }, (bucket) => {
      expect(takeTokens(bucket, 1, START)).toBe(START);
      expect(takeTokens(bucket, 1, START - MS)).toBe(START + 10 * MS);
    });
    withBucket({ size: 2 ** 64, oneTimeBurst: 2 ** 64, refillMs: 1 }, (bucket) => {
      for (let i = 0; i < 100; i++) expect(takeTokens(bucket, 2 ** 32, START)).toBe(START);
    });
    withBucket({ size: 1, oneTimeBurst: 0, refillMs: 2 ** 64 }, (bucket) => {
      expect(takeTokens(bucket, 1, START)).toBe(START);
      const never = takeTokens(bucket, 1, START);
      expect(never).toBeGreaterThan(START + 1e18);
      expect(Number.isFinite(never)).toBe(true);
    });
  });
});

/** When operations of which sizes went ahead. */
type Passed = readonly { readonly at: number; readonly tokens: number }[];

/** Members that each do one operation after the other, some with pauses, for `operations` in all. */
function simulate(limits: BucketLimits, random: Random, members: number, operations: number): Passed {
  return withBucket(limits, (bucket) => {
    const passed: { at: number; tokens: number }[] = [];
    const next = Array.from({ length: members }, () => START);
    for (let i = 0; i < operations; i++) {
      const member = next.indexOf(Math.min(...next));
      const now = next[member] ?? START;
      const tokens = random.below(4) === 0 ? random.below(3 * limits.size) : 1 + random.below(limits.size);
      if (random.below(50) === 0) {
        takeTokens(bucket, tokens, now);
        giveTokensBack(bucket, tokens);
      }
      const at = takeTokens(bucket, tokens, now);
      expect(at).toBeGreaterThanOrEqual(now);
      passed.push({ at, tokens });
      next[member] = at + (random.below(20) === 0 ? random.below(5 * limits.refillMs * MS) : 0);
    }
    return passed.toSorted((a, b) => a.at - b.at);
  });
}

describe("over any stretch of time", () => {
  test("no more passes than bucket, burst and what refills, but for one operation of more than the bucket", () => {
    const random = new Random(7);
    for (let round = 0; round < 60; round++) {
      const limits = {
        size: 1 + random.below(1000),
        oneTimeBurst: random.below(3) === 0 ? random.below(3000) : 0,
        refillMs: 1 + random.below(500),
      };
      const passed = simulate(limits, random, 1 + random.below(4), 300);
      const perNs = limits.size / (limits.refillMs * MS);
      for (let from = 0; from < passed.length; from++) {
        let sum = 0;
        let largest = 0;
        for (let to = from; to < passed.length; to++) {
          sum += passed[to]?.tokens ?? 0;
          largest = Math.max(largest, passed[to]?.tokens ?? 0);
          const elapsed = (passed[to]?.at ?? 0) - (passed[from]?.at ?? 0);
          const most = Math.max(limits.size, largest) + limits.oneTimeBurst + elapsed * perNs;
          if (sum > most * (1 + 1e-6) + 1e-3) throw new Error(`${sum} of at most ${most}: ${JSON.stringify(limits)}`);
        }
      }
    }
  });

  test("members that always want more use all of the rate, and get the same number of operations each", () => {
    withBucket({ size: 100, oneTimeBurst: 0, refillMs: 1000 }, (bucket) => {
      const sizes = [1, 30, 99, 5];
      const next = sizes.map(() => START);
      const counts = sizes.map(() => 0);
      const end = START + 1000e9;
      let tokens = 0;
      for (;;) {
        const member = next.indexOf(Math.min(...next));
        const now = next[member] ?? end;
        if (now >= end) break;
        next[member] = takeTokens(bucket, sizes[member] ?? 0, now);
        counts[member] = (counts[member] ?? 0) + 1;
        tokens += sizes[member] ?? 0;
      }
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(120);
      expect(tokens / 100_100).toBeCloseTo(1, 2);
    });
  });
});
