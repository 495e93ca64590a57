import { afterEach, describe, expect, test } from "bun:test";
import {
  ACTUAL_WORD,
  BALLOON_PAGE,
  type BalloonSettings,
  balloonDevice,
  balloonQueues,
  NUM_PAGES_WORD,
  STATISTICS_QUEUE,
  STATISTICS_WORD,
  StatisticsWish,
} from "../../../../../src/devices/virtio/balloon/device.ts";
import { STATISTICS } from "../../../../../src/devices/virtio/balloon/statistics.ts";
import { Bar0 } from "../../../../../src/devices/virtio/transport/bar-layout.ts";
import { TransportBlock } from "../../../../../src/devices/virtio/transport/state.ts";
import { GuestMemory } from "../../../../../src/memory/guest-memory.ts";
import type { BackedRegion } from "../../../../../src/memory/ram.ts";
import { closeRam, filledRam, HIGH, missing, pages } from "../../../memory/resident.ts";
import { DeviceThread } from "../device-thread.ts";
import type { RingDriver } from "../ring-driver.ts";
import { TransportRig } from "../transport-rig.ts";
import { awaitUsed, LIMIT_MS } from "../waits.ts";

const SETTINGS: BalloonSettings = { pages: 7, deflateOnOom: true, freePageReporting: true, statistics: true };
/** Behind the rings. */
const LIST = HIGH + 64 * BALLOON_PAGE;
const STATISTICS_BUFFER = LIST + BALLOON_PAGE;
const GIVEN = LIST + 100 * BALLOON_PAGE;

afterEach(closeRam);

/** A balloon in a thread of its own, and its driver. */
class Balloon implements AsyncDisposable {
  readonly regions: readonly BackedRegion[];
  readonly rig: TransportRig;
  readonly thread: DeviceThread;
  rings: readonly RingDriver[] = [];

  constructor(regions: readonly BackedRegion[], saved?: Uint8Array) {
    this.regions = regions;
    const [, high] = regions;
    this.rig = new TransportRig(balloonDevice(SETTINGS), new GuestMemory(high === undefined ? [] : [high]));
    if (saved !== undefined) this.rig.front.restore(saved);
    const wiring = { transport: this.rig.wiring, settings: SETTINGS };
    this.thread = new DeviceThread(this.rig, { kind: "balloon", wiring, ram: regions });
  }

  start(): void {
    this.rings = this.rig.start();
  }

  ring(queue: number): RingDriver {
    const ring = this.rings[queue];
    if (ring === undefined) throw new Error(`there is no queue ${queue}`);
    return ring;
  }

  give(...addresses: readonly number[]): void {
    for (const [i, address] of addresses.entries()) this.rig.memory.writeU32(LIST + 4 * i, address / BALLOON_PAGE);
    this.ring(0).add({ address: LIST, length: 4 * addresses.length });
    this.rig.ring(0);
    expect(awaitUsed(this.rig, this.ring(0), 1).map(({ written }) => written)).toEqual([0]);
  }

  /** Offers a buffer with one statistic. */
  tell(tag: number, value: number): void {
    const entry = new DataView(new ArrayBuffer(10));
    entry.setUint16(0, tag, true);
    entry.setBigUint64(2, BigInt(value), true);
    this.rig.memory.write(STATISTICS_BUFFER, new Uint8Array(entry.buffer));
    this.ring(STATISTICS_QUEUE).add({ address: STATISTICS_BUFFER, length: 10 });
    this.rig.ring(STATISTICS_QUEUE);
  }

  statistic(name: string): number {
    const { counters } = new TransportBlock(balloonDevice(SETTINGS), this.rig.wiring.block);
    return counters[STATISTICS_QUEUE]?.[STATISTICS.indexOf(name)] ?? -1;
  }

  /** A thread that has several of its queues to serve comes to them in any order. */
  async awaitStatistic(name: string, value: number): Promise<void> {
    const deadline = performance.now() + LIMIT_MS;
    while (this.statistic(name) !== value && performance.now() < deadline) await Bun.sleep(1);
    expect(this.statistic(name)).toBe(value);
  }

  config(word: number): number {
    return this.rig.read(Bar0.DEVICE + 4 * word);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.thread[Symbol.asyncDispose]();
  }
}

describe("the device", () => {
  test.each([
    [{}, ["inflate", "deflate"], [128, 128], []],
    [{ deflateOnOom: true }, ["inflate", "deflate"], [128, 128], [2]],
    [{ freePageReporting: true }, ["inflate", "deflate", "reporting"], [128, 128, 32], [5]],
    [{ statistics: true }, ["inflate", "deflate", "statistics"], [128, 128, 128], [1]],
    [SETTINGS, ["inflate", "deflate", "statistics", "reporting"], [128, 128, 128, 32], [1, 2, 5]],
  ] as const)("with %p has the queues %p", (options, queues, sizes, features) => {
    const settings = { pages: 0, deflateOnOom: false, freePageReporting: false, statistics: false, ...options };
    expect(balloonQueues(settings)).toEqual([...queues]);
    expect(balloonDevice(settings)).toMatchObject({ queueSizes: [...sizes], features: [...features], minQueues: 2 });
  });
});

test("a saved balloon goes on: what is wanted and given, where its queues stand, and the buffer that it keeps", async () => {
  const regions = filledRam();
  let saved: Uint8Array;
  let rings: readonly RingDriver[];
  {
    await using balloon = new Balloon(regions);
    balloon.start();
    balloon.rig.write(Bar0.DEVICE + 4 * ACTUAL_WORD, 5);
    balloon.rig.front.changeConfig(NUM_PAGES_WORD, 99);
    balloon.give(GIVEN, GIVEN + 3 * BALLOON_PAGE);
    balloon.give(GIVEN + BALLOON_PAGE);
    balloon.tell(4, 4096);
    await balloon.awaitStatistic("free_memory", 4096);
    balloon.thread.pause();
    saved = balloon.rig.front.save();
    rings = balloon.rings;
    balloon.thread.resume();
  }
  const first = (GIVEN - HIGH) / BALLOON_PAGE;
  expect(missing(regions[1])).toEqual([first, first + 1, first + 3]);

  await using next = new Balloon(regions, saved);
  next.rings = rings;
  expect([next.config(NUM_PAGES_WORD), next.config(ACTUAL_WORD)]).toEqual([99, 5]);
  next.give(GIVEN + 2 * BALLOON_PAGE);
  expect(missing(regions[1])).toEqual(pages(first, 4));
  await next.awaitStatistic("free_memory", 4096);
  next.rig.front.tell(STATISTICS_WORD, StatisticsWish.WANTED, STATISTICS_QUEUE);
  expect(awaitUsed(next.rig, next.ring(STATISTICS_QUEUE), 1).map(({ written }) => written)).toEqual([0]);
  next.tell(5, 8192);
  expect(await next.thread.notice()).toEqual({ kind: "statistics", id: "_test0" });
  await next.awaitStatistic("total_memory", 8192);
});

test("a driver that tells statistics which nobody asked for is read, and nobody is disturbed", async () => {
  await using balloon = new Balloon(filledRam());
  balloon.start();
  balloon.tell(0, 1);
  for (let i = 0; i < 20; i++) {
    balloon.rig.ring(STATISTICS_QUEUE);
    balloon.give(GIVEN);
  }
  await balloon.awaitStatistic("swap_in", 1);
  expect(balloon.ring(STATISTICS_QUEUE).take()).toEqual([]);
  expect(await balloon.thread.pending()).toEqual([]);
});
