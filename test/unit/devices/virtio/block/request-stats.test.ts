import { describe, expect, test } from "bun:test";
import { BLOCK_COUNTERS, Direction } from "../../../../../src/devices/virtio/block/counters.ts";
import { RequestStats } from "../../../../../src/devices/virtio/block/request-stats.ts";
import { blockCounters } from "../../../../../src/vmm/device-counters.ts";

const { READ, WRITE, NEITHER } = Direction;
const US = 1000;

/** A queue's counters, and what counts in them on a clock that the test moves. */
function queue() {
  const counters = new Float64Array(BLOCK_COUNTERS.length);
  const clock = { now: 5_000_000_000, reads: 0 };
  const stats = new RequestStats(counters, 8, () => {
    clock.reads++;
    return clock.now;
  });
  return { counters, clock, stats };
}

describe("requests of a block device are counted", () => {
  test("by bytes, operations and latency, those that succeed", () => {
    const { counters, clock, stats } = queue();
    stats.beginBatch();
    stats.started(0, READ, 4096);
    stats.started(1, WRITE, 512);
    stats.started(2, READ, 512);
    stats.started(3, NEITHER, 0);
    clock.now += 100 * US + 999;
    stats.beginBatch();
    stats.succeeded(0);
    stats.succeeded(3);
    clock.now += 200 * US;
    stats.beginBatch();
    stats.succeeded(1);
    stats.started(0, READ, 8192);
    clock.now += 40 * US;
    stats.beginBatch();
    stats.succeeded(0);
    expect(blockCounters([counters])).toEqual({
      read_bytes: 12288,
      write_bytes: 512,
      read_ops: 2,
      write_ops: 1,
      read_latency_min: 40,
      read_latency_max: 100,
      read_latency_avg: 70,
      write_latency_min: 300,
      write_latency_max: 300,
      write_latency_avg: 300,
    });
  });

  test("with one look at the clock for what starts or ends together", () => {
    const { clock, stats } = queue();
    stats.beginBatch();
    for (let tag = 0; tag < 8; tag++) stats.started(tag, READ, 512);
    stats.beginBatch();
    for (let tag = 0; tag < 8; tag++) stats.succeeded(tag);
    stats.beginBatch();
    expect(clock.reads).toBe(2);
  });

  test("queues together, with the values of before the first operation where there was none", () => {
    const [a, b, idle] = [queue(), queue(), queue()];
    const run = ({ clock, stats }: ReturnType<typeof queue>, us: number): void => {
      stats.beginBatch();
      stats.started(7, READ, 1024);
      clock.now += us * US;
      stats.beginBatch();
      stats.succeeded(7);
    };
    run(a, 0);
    run(a, 3);
    run(b, 9);
    expect(blockCounters([a.counters, b.counters, idle.counters])).toEqual({
      read_bytes: 3072,
      write_bytes: 0,
      read_ops: 3,
      write_ops: 0,
      read_latency_min: 0,
      read_latency_max: 9,
      read_latency_avg: 4,
      write_latency_min: 18446744073709551615n,
      write_latency_max: 18446744073709551615n,
      write_latency_avg: 1844674407370955,
    });
  });
});
