import { afterAll, describe, expect, test } from "bun:test";
import { RateGate } from "../../../../src/devices/rate-limit/rate-gate.ts";
import { RateLimiter, type RateLimits } from "../../../../src/devices/rate-limit/rate-limiter.ts";
import { monotonicNs } from "../../../../src/host/clock.ts";
import { Epoll } from "../../../../src/host/epoll.ts";
import { libc } from "../../../../src/host/libc.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { createTimerFd } from "../../../../src/host/timerfd.ts";
import { WorkerThread } from "../../../../src/threads/worker.ts";
import type { TakerJob } from "./taker-worker.ts";

const MS = 1e6;
const PATIENCE_MS = 20_000;

function limiter(limits: Partial<RateLimits>) {
  const block = mapAnonymous(RateLimiter.size);
  const made = new RateLimiter(block);
  made.fill({ bandwidth: undefined, ops: undefined, ...limits });
  return { made, block };
}

const bucket = (size: number, refillMs: number) => ({ size, oneTimeBurst: 0, refillMs });

describe("a rate limiter", () => {
  test("without buckets limits nothing", () => {
    const { made } = limiter({});
    for (let i = 0; i < 100; i++) expect(made.take(1e9, 5)).toBe(5);
  });

  test("makes an operation wait for the slower of its buckets", () => {
    const { made } = limiter({ bandwidth: bucket(1000, 1000), ops: bucket(2, 1000) });
    expect(made.take(400, 0)).toBe(0);
    expect(made.take(700, 0)).toBe(100 * MS);
    expect(made.take(0, 0)).toBe(500 * MS);
    expect(made.take(900, 0)).toBe(1000 * MS);
    made.giveBack(900);
    expect(made.take(100, 0)).toBe(1000 * MS);
  });

  test("is one for all threads that share its block", async () => {
    const { made, block } = limiter({ bandwidth: bucket(1, 1), ops: bucket(1, 1000) });
    const takers = ["taker0", "taker1"].map(
      (name) => new WorkerThread<TakerJob, number>(name, new URL("./taker-worker.ts", import.meta.url).href),
    );
    const each = 20_000;
    const { address, size } = block;
    const latest = await Promise.all(takers.map((taker) => taker.run({ limiter: { address, size }, takes: each })));
    // The first of all needed no wait; every other one waited a second more.
    expect(Math.max(...latest)).toBe((2 * each - 1) * 1000 * MS);
    expect(made.take(0, 0)).toBe(2 * each * 1000 * MS);
    for (const taker of takers) taker.terminate();
  });
});

describe("a gate", () => {
  const timers: number[] = [];
  afterAll(() => {
    for (const timer of timers) libc.close(timer);
  });
  const gateOf = (limits: Partial<RateLimits>, clock?: () => number) => {
    const timerFd = createTimerFd();
    timers.push(timerFd);
    return new RateGate({ limiter: limiter(limits).block, timerFd }, clock);
  };

  test("closes behind an operation that has to wait, and opens when its tokens are there", () => {
    let now = 1000 * MS;
    const gate = gateOf({ ops: bucket(1, 10) }, () => now);
    expect(gate.isOpen).toBe(true);
    expect(gate.pass(1)).toBe(true);
    expect(gate.pass(1)).toBe(false);
    expect(gate.isOpen).toBe(false);
    now += 10 * MS - 1;
    expect(gate.isOpen).toBe(false);
    now += 1;
    expect(gate.isOpen).toBe(true);
    expect(gate.pass(1)).toBe(false);
    gate.giveUp(1);
    expect(gate.isOpen).toBe(true);
    now += 10 * MS;
    expect(gate.pass(1)).toBe(true);
  });

  test("wakes who waits for its timer when it opens, again and again, though nobody reads it", () => {
    const gate = gateOf({ ops: bucket(1, 20) });
    const epoll = new Epoll();
    try {
      epoll.add(gate.timerFd, 7, 0x8000_0001);
      expect(gate.pass(1)).toBe(true);
      expect(epoll.wait(0, () => undefined)).toBe(0);
      const start = monotonicNs();
      for (let i = 1; i <= 3; i++) {
        expect(gate.pass(1)).toBe(false);
        expect(epoll.wait(PATIENCE_MS, (token) => expect(token).toBe(7))).toBe(1);
        expect(gate.isOpen).toBe(true);
        expect(monotonicNs() - start).toBeGreaterThan(i * 20 * MS - 20 * MS);
      }
      expect(epoll.wait(0, () => undefined)).toBe(0);
    } finally {
      epoll.close();
    }
  });
});
