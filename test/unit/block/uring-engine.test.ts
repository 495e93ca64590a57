import { afterAll, afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UringEngine } from "../../../src/block/uring-engine.ts";
import { monotonicNs } from "../../../src/host/clock.ts";
import { Errno } from "../../../src/host/errno.ts";
import { createEventFd, signalEventFd } from "../../../src/host/eventfd.ts";
import { IoUring } from "../../../src/host/io-uring/io-uring.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous, munmap } from "../../../src/host/mmap.ts";
import { Sys } from "../../../src/host/syscall-numbers.ts";
import { createTimerFd, setTimerFd } from "../../../src/host/timerfd.ts";
import { noIoUring } from "../host/io-uring.ts";
import { TestFolder } from "./files.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const path = join(folder.path, "file");
const SIZE = 1 << 20;
const TAGS = 128;

/** What each look at the clock adds, in milliseconds. */
let tickMs = 0;
let nowMs = 0;
const now = (): number => {
  nowMs += tickMs;
  return nowMs;
};

const iovecs = mapAnonymous(4096);
const data = mapAnonymous(SIZE);
let fd = -1;
let engine: UringEngine;

beforeEach(() => {
  if (noIoUring !== undefined) return;
  writeFileSync(path, Buffer.alloc(SIZE));
  fd = openSync(path, "r+");
  tickMs = 0;
  engine = new UringEngine(TAGS, true, now);
});

afterEach(() => {
  if (noIoUring !== undefined) return;
  engine.close();
  closeSync(fd);
});

afterAll(() => {
  munmap(iovecs.address, iovecs.size);
  munmap(data.address, data.size);
});

function write(tag: number, length: number, offset: number, to = fd): void {
  setIovec(iovecs.u32, tag, data.address, length);
  engine.write(to, iovecs.address + tag * 16, 1, data.address, length, offset, tag);
}

/** Takes all that is done without going to the kernel. */
function done(): [tag: number, result: number][] {
  const all: [number, number][] = [];
  while (engine.next()) all.push([engine.tag, engine.result]);
  return all;
}

test.skipIf(noIoUring !== undefined)(
  "small writes to the page cache are done at once, larger ones by the kernel's workers",
  () => {
    data.u8.fill(7);
    write(3, 4096, 8192);
    write(4, 65536, 131072);
    expect(done()).toEqual([
      [3, 4096],
      [4, 65536],
    ]);
    const file = readFileSync(path);
    expect(file.subarray(8192, 12288).every((byte) => byte === 7)).toBe(true);
    expect(file[8191]).toBe(0);
    expect(file[131072 + 65535]).toBe(7);
    write(5, 65537, 0);
    expect(done()).toEqual([]);
    while (done().length === 0) engine.wait(true);
  },
);

test.skipIf(noIoUring !== undefined)(
  "large reads are copied by the thread itself, but not many at once, nor for a while after slow ones",
  () => {
    const handedOver: boolean[] = [];
    const { read } = IoUring.prototype;
    using _ = spyOn(IoUring.prototype, "read").mockImplementation(function (this: IoUring, ...args) {
      handedOver.push(args[5] === true);
      read.apply(this, args);
    });
    const readMany = (count: number): boolean[] => {
      handedOver.length = 0;
      for (let tag = 0; tag < count; tag++) engine.read(fd, 0, 1, data.address, SIZE, 0, tag);
      for (let left = count; left > 0; left -= done().length) engine.wait(true);
      return handedOver;
    };
    expect(readMany(8)).toEqual(Array<boolean>(8).fill(false));
    expect(readMany(10)).toEqual([...Array<boolean>(8).fill(false), true, true]);
    tickMs = 100;
    expect(readMany(1)).toEqual([false]);
    tickMs = 0;
    expect(readMany(66)).toEqual([...Array<boolean>(64).fill(true), false, false]);
  },
);

test.skipIf(noIoUring !== undefined)("errors come back with their request", () => {
  const readOnly = openSync(path, "r");
  write(1, 512, 0, readOnly);
  expect(done()).toEqual([[1, -Errno.EBADF]]);
  closeSync(readOnly);
});

test.skipIf(noIoUring !== undefined)("after a write that had to wait, 64 go to the kernel's workers", () => {
  tickMs = 1;
  write(0, 512, 0);
  tickMs = 0;
  expect(done()).toEqual([[0, 512]]);
  for (let tag = 1; tag <= 64; tag++) write(tag, 512, tag * 512);
  expect(done()).toEqual([]);
  write(65, 512, 0);
  expect(done()).toEqual([[65, 512]]);
  const results: [number, number][] = [];
  while (results.length < 64) {
    engine.wait(true);
    results.push(...done());
  }
  expect(results.sort(([a], [b]) => a - b)).toEqual(Array.from({ length: 64 }, (_, i) => [i + 1, 512]));
});

test.skipIf(noIoUring !== undefined)(
  "a request beside writes that are done already is got going without waiting for it",
  () => {
    setIovec(iovecs.u32, 9, data.address, 512);
    engine.read(fd, iovecs.address + 9 * 16, 1, data.address, 512, 0, 9);
    write(1, 512, 0);
    engine.wait(true);
    const results = done();
    while (results.length < 2) {
      engine.wait(true);
      results.push(...done());
    }
    expect(results.sort(([a], [b]) => a - b)).toEqual([
      [1, 512],
      [9, 512],
    ]);
  },
);

describe.skipIf(noIoUring !== undefined)("a signal", () => {
  /** Would end a sleep that nothing else ends. */
  const RESCUE_MS = 1500;
  let signal = -1;
  let rescue = -1;

  beforeEach(() => {
    signal = createEventFd();
    rescue = createTimerFd();
    engine.watch(signal);
    engine.watch(rescue);
    // The watches are there.
    engine.wait(false);
  });
  afterEach(() => {
    for (const eventFd of [signal, rescue]) libc.close(eventFd);
  });

  /** How long the engine waits, at most until the rescue comes. */
  function waitMs(): number {
    setTimerFd(rescue, monotonicNs() + RESCUE_MS * 1e6);
    const begun = performance.now();
    engine.wait(true);
    return performance.now() - begun;
  }

  /** Takes what is done, when that has got to the kernel, and with it the signals that came meanwhile. */
  function finish(count: number): void {
    for (let left = count; left > 0; left -= done().length) engine.wait(false);
  }

  function readOne(tag: number): void {
    setIovec(iovecs.u32, tag, data.address, 512);
    engine.read(fd, iovecs.address + tag * 16, 1, data.address, 512, 0, tag);
  }

  test("that is taken while the thread does not wait ends its next wait", () => {
    readOne(1);
    signalEventFd(signal);
    finish(1);
    expect(waitMs()).toBeLessThan(RESCUE_MS / 2);
  });

  test("that ended a wait does not end the next one", () => {
    signalEventFd(signal);
    expect(waitMs()).toBeLessThan(RESCUE_MS / 2);
    readOne(1);
    finish(1);
    expect(waitMs()).toBeGreaterThan(RESCUE_MS / 2);
  });
});

test.skipIf(noIoUring !== undefined)(
  "no request is lost when the kernel has no memory for some, and none when there is no room",
  () => {
    const few = new UringEngine(8, false);
    const watched = Array.from({ length: 3 }, () => createEventFd());
    const read = (tag: number): void => {
      setIovec(iovecs.u32, tag, data.address + tag * 512, 512);
      few.read(fd, iovecs.address + tag * 16, 1, data.address + tag * 512, 512, tag * 512, tag);
    };
    const { syscall } = libc;
    let failures = 0;
    {
      using _ = spyOn(libc, "syscall").mockImplementation((number, ...args) => {
        if (number !== Sys.io_uring_enter || failures === 0) return syscall(number, ...args);
        failures--;
        // An eventfd that nobody has signalled fails with what is wanted: EAGAIN.
        return libc.read(watched[0] ?? -1, data.address + SIZE - 8, 8);
      });
      for (const tag of [0, 1]) read(tag);
      few.wait(false);
      for (const tag of [2, 3, 4, 5, 6, 7]) read(tag);
      for (const eventFd of watched.slice(0, 2)) few.watch(eventFd);
      failures = 3;
      // The queue of submissions is full.
      few.watch(watched[2] ?? -1);
      const tags = new Set<number>();
      while (tags.size < 8) {
        few.wait(true);
        while (few.next()) tags.add(few.tag);
      }
      expect(failures).toBe(0);
    }
    // All watches are there.
    for (const eventFd of watched) {
      signalEventFd(eventFd);
      few.wait(true);
      expect(few.next()).toBeFalse();
    }
    few.close();
    for (const eventFd of watched) libc.close(eventFd);
  },
);
