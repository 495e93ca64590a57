import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { RateGate } from "../../../../../src/devices/rate-limit/rate-gate.ts";
import { RateLimiter, type RateLimits } from "../../../../../src/devices/rate-limit/rate-limiter.ts";
import { BlockRequest, BlockStatus } from "../../../../../src/devices/virtio/block/protocol.ts";
import { libc } from "../../../../../src/host/libc.ts";
import { mapAnonymous } from "../../../../../src/host/mmap.ts";
import { createTimerFd } from "../../../../../src/host/timerfd.ts";
import { ThreadRequest } from "../../../../../src/threads/control.ts";
import { DATA, Guest, image, RecordingDisk, STATUSES, serve, settings } from "./harness.ts";

const { IN, OUT, FLUSH, GET_ID } = BlockRequest;
const MS = 1e6;
const SECTORS = 1000;

const data = (length: number, writable: boolean, address = DATA) => ({ address, length, writable });
const bucket = (size: number, refillMs: number) => ({ size, oneTimeBurst: 0, refillMs });

describe("a queue behind a rate limiter", () => {
  let now = 0;
  let guest: Guest;
  let disk: RecordingDisk;
  let limiter: RateLimiter;
  let timerFd: number;

  beforeEach(() => {
    now = 1000 * MS;
    timerFd = createTimerFd();
    guest = new Guest(settings(image(SECTORS)));
    disk = new RecordingDisk();
  });
  afterEach(() => {
    libc.close(timerFd);
    guest.close();
  });

  /** Starts the driver and lets it make requests; the steps follow, each when the device sleeps. */
  function run(limits: Partial<RateLimits>, make: () => void, ...steps: readonly (() => void)[]): void {
    const block = mapAnonymous(RateLimiter.size);
    limiter = new RateLimiter(block);
    limiter.fill({ bandwidth: undefined, ops: undefined, ...limits });
    guest.gate = new RateGate({ limiter: block, timerFd }, () => now);
    const start = (): void => {
      guest.start();
      make();
    };
    serve(guest, disk, start, ...steps);
  }

  /** The requests that the disk was asked for so far. */
  const asked = (): number => disk.asked.length;

  test("starts requests when their operations are there, in order, and answers them meanwhile", () => {
    const seen: [number, number][] = [];
    const look = (): void => {
      seen.push([asked(), guest.driver.take().length]);
    };
    run(
      { ops: bucket(2, 20) },
      () => {
        for (let i = 1; i <= 5; i++) guest.request(i === 3 ? FLUSH : IN, i, ...(i === 3 ? [] : [data(512, true)]));
      },
      () => {
        look();
        now += 9 * MS;
      },
      () => {
        look();
        now += MS;
      },
      () => {
        look();
        now += 1000 * MS;
      },
      () => look(),
    );
    expect(seen).toEqual([
      [2, 2],
      [2, 0],
      [3, 1],
      [5, 2],
    ]);
    expect(disk.asked).toEqual([
      "read 512 512 512",
      "read 1024 512 512",
      "flush",
      "read 2048 512 512",
      "read 2560 512 512",
    ]);
  });

  test("charges bytes of data, and one operation for whatever is asked", () => {
    const counts: number[] = [];
    run(
      { bandwidth: bucket(4096, 4096) },
      () => {
        guest.request(IN, 0, data(2048, true));
        guest.request(OUT, 0, data(1024, false), data(1024, false, DATA + 2048));
        guest.request(FLUSH, 0);
        guest.request(OUT, 8, data(512, false));
        guest.request(FLUSH, 0);
      },
      () => {
        counts.push(asked());
        now += 511 * MS;
      },
      () => {
        counts.push(asked());
        now += MS;
      },
      () => counts.push(asked()),
    );
    expect(counts).toEqual([3, 3, 5]);
  });

  test("has a driver that makes a request larger while it waits do what it paid for", () => {
    run(
      { ops: bucket(1, 10) },
      () => {
        guest.request(FLUSH, 0);
        guest.request(IN, 1, data(512, true));
      },
      () => {
        // The descriptors of the second request, which waits: its data buffer is number 3 of the table.
        guest.memory.writeU32(guest.driver.setup.descriptorArea + 3 * 16 + 8, 1 << 20);
        now += 10 * MS;
      },
      () => undefined,
    );
    expect(disk.asked).toEqual(["flush", "read 512 512 512"]);
  });

  test("puts what waits back for a pause, unpaid, and goes on after it", () => {
    const [queue] = guest.shared.state.queues;
    const positions = (): number[] => [...(queue?.positions ?? [])];
    const log: unknown[] = [];
    run(
      { ops: bucket(1, 1000) },
      () => {
        for (let i = 0; i < 3; i++) guest.request(IN, i, data(512, true));
      },
      () => {
        log.push(positions());
        now += 400 * MS;
        guest.control.ask(ThreadRequest.PAUSE);
        // Who would let the thread go on is this thread, so the parking itself is left out.
        const { park } = guest.control;
        guest.control.park = () => {
          log.push(positions());
          guest.control.park = park;
          guest.control.ask(ThreadRequest.RUN);
          return ThreadRequest.RUN;
        };
      },
      () => {
        log.push(asked(), positions());
        now += 599 * MS;
      },
      () => {
        log.push(asked());
        now += MS;
      },
      () => log.push(asked()),
    );
    expect(log).toEqual([[2, 1], [1, 1], 1, [2, 1], 1, 2]);
  });

  test("gives the tokens of what waits back when the driver resets the device", () => {
    const log: unknown[] = [];
    run(
      { bandwidth: bucket(1 << 20, 1000) },
      () => {
        guest.request(IN, 0, data(512, true));
        guest.request(IN, 0, data(SECTORS * 512, true));
        guest.request(IN, 0, data(SECTORS * 512, true));
        guest.request(IN, 0, data(SECTORS * 512, true));
      },
      () => {
        log.push(asked());
        guest.reset();
      },
      () => {
        log.push(guest.isReset, limiter.take(1 << 20, now + 1000 * MS) === now + 1000 * MS);
        now += 5000 * MS;
        guest.start();
        guest.request(IN, 0, data(512, true));
      },
      () => log.push(asked()),
    );
    expect(log).toEqual([3, true, true, 4]);
  });

  test("does not wait behind itself when the gate opens and many requests are there already", () => {
    run(
      { ops: bucket(16, 16) },
      () => {
        for (let i = 0; i < 20; i++) guest.request(GET_ID, 0, data(20, true));
      },
      () => {
        expect(guest.driver.take().length).toBe(16);
        now += 100 * MS;
      },
      () => {
        expect(guest.driver.take().length).toBe(4);
        expect(guest.memory.readU8(STATUSES + 19)).toBe(BlockStatus.OK);
      },
    );
  });
});
