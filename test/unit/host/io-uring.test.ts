import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Errno } from "../../../src/host/errno.ts";
import { createEventFd, drainEventFd, signalEventFd } from "../../../src/host/eventfd.ts";
import { IoUringOp } from "../../../src/host/io-uring/abi.ts";
import { FLAG_SETS, IoUring, IoUringUnavailableError } from "../../../src/host/io-uring/io-uring.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { threadId } from "../../../src/host/thread.ts";
import { noIoUring } from "./io-uring.ts";

const ALL = Object.values(IoUringOp);

describe.skipIf(noIoUring !== undefined)("io_uring", () => {
  const folder = mkdtempSync(join(tmpdir(), "io-uring-"));
  const path = join(folder, "file");
  const memory = mapAnonymous(1 << 20);
  let fd = -1;
  let ring: IoUring;

  beforeAll(() => {
    writeFileSync(
      path,
      Uint8Array.from({ length: 65536 }, (_, i) => (i >> 8) ^ i),
    );
    fd = openSync(path, "r+");
    ring = new IoUring(8, 64, ALL);
  });
  afterAll(() => {
    ring.close();
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  /** The start of the file, read by other means. */
  function contents(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    readSync(fd, bytes, 0, length, 0);
    return bytes;
  }

  /** All completions until `count` are there, as [tag, result]. */
  function collect(count: number): [number, number][] {
    const completions: [number, number][] = [];
    while (completions.length < count) {
      ring.enter(1);
      while (ring.next()) completions.push([ring.tag, ring.result]);
    }
    return completions.sort(([a], [b]) => a - b);
  }

  test("knows what the kernel can do", () => {
    expect(() => new IoUring(8, 16, [IoUringOp.NOP, 63])).toThrow(IoUringUnavailableError);
  });

  test("does nothing that it is not for", () => {
    const reader = new IoUring(8, 16, [IoUringOp.READ]);
    reader.read(fd, memory.address, 512, 0, 1);
    reader.write(fd, memory.address, 512, 0, 2);
    reader.sync(fd, 3);
    reader.enter(3);
    const results = [];
    while (reader.next()) results.push([reader.tag, reader.result]);
    expect(results.sort()).toEqual([
      [1, 512],
      [2, -Errno.EACCES],
      [3, -Errno.EACCES],
    ]);
    reader.close();
  });

  test("gives nothing when nothing was asked", () => {
    ring.enter(0);
    expect(ring.next()).toBe(false);
  });

  test("tags of all 32 bits come back, also after the rings have wrapped many times", () => {
    const tags = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    for (let round = 0; round < 100; round++) {
      for (const tag of tags) ring.nop(tag);
      expect(collect(tags.length)).toEqual(tags.map((tag) => [tag, 0]));
    }
  });

  test("says when the submission queue is full, and has room again after enter", () => {
    expect(ring.capacity).toBe(8);
    for (let i = 0; i < 8; i++) {
      expect(ring.hasRoom(8 - i)).toBe(true);
      expect(ring.hasRoom(9 - i)).toBe(false);
      ring.nop(i);
    }
    expect(ring.hasRoom(1)).toBe(false);
    ring.enter(0);
    expect(ring.hasRoom(8)).toBe(true);
    expect(collect(8).length).toBe(8);
  });

  test("reads and writes memory, whole and scattered, at offsets beyond 4 GiB", () => {
    const far = 5 * 2 ** 32 + 4096;
    memory.u8.fill(0xa5, 0, 4096);
    ring.write(fd, memory.address, 4096, far, 1);
    expect(collect(1)).toEqual([[1, 4096]]);
    ring.read(fd, memory.address + 8192, 4096, far, 2);
    ring.read(fd, memory.address + 16384, 300, 256, 3);
    const table = memory.sub(65536, 64).u32;
    setIovec(table, 0, memory.address + 20480, 100);
    setIovec(table, 1, memory.address + 24576, 156);
    ring.readv(fd, memory.address + 65536, 2, 512, 4);
    expect(collect(3)).toEqual([
      [2, 4096],
      [3, 300],
      [4, 256],
    ]);
    const file = contents(1024);
    expect(memory.u8.subarray(8192, 8192 + 4096).every((byte) => byte === 0xa5)).toBe(true);
    expect([...memory.u8.subarray(16384, 16684)]).toEqual([...file.subarray(256, 556)]);
    expect([...memory.u8.subarray(20480, 20580)]).toEqual([...file.subarray(512, 612)]);
    expect([...memory.u8.subarray(24576, 24732)]).toEqual([...file.subarray(612, 768)]);
    ring.writev(fd, memory.address + 65536, 2, 8192, 5);
    ring.enter(1);
    ring.sync(fd, 6);
    expect(collect(2)).toEqual([
      [5, 256],
      [6, 0],
    ]);
    expect([...contents(8448).subarray(8192)]).toEqual([...file.subarray(512, 768)]);
    expect(libc.ftruncate(fd, 65536)).toBe(0);
  });

  test("failures are results: a bad descriptor, bad memory, the end of the file", () => {
    ring.read(-1, memory.address, 512, 0, 1);
    ring.read(fd, 8, 512, 0, 2);
    ring.read(fd, memory.address, 512, 65536 - 100, 3);
    ring.read(fd, memory.address, 512, 1 << 20, 4);
    expect(collect(4)).toEqual([
      [1, -Errno.EBADF],
      [2, -Errno.EFAULT],
      [3, 100],
      [4, 0],
    ]);
  });

  test("more requests than submissions fit, in batches", () => {
    const count = 60;
    for (let i = 0; i < count; i++) {
      if (!ring.hasRoom(1)) ring.enter(0);
      ring.read(fd, memory.address + i * 512, 512, i * 512, i);
    }
    expect(collect(count)).toEqual(Array.from({ length: count }, (_, i) => [i, 512]));
    expect([...memory.u8.subarray(0, count * 512)]).toEqual([...contents(count * 512)]);
  });

  test("a watched eventfd gives a completion for each signal, though nobody reads it", () => {
    const watched = new IoUring(8, 16, ALL);
    const eventFd = createEventFd();
    watched.watch(eventFd, 77);
    watched.enter(0);
    expect(watched.next()).toBe(false);
    for (let i = 0; i < 50; i++) {
      signalEventFd(eventFd);
      watched.enter(1);
      expect(watched.next()).toBe(true);
      expect([watched.tag, watched.result & 1, watched.more]).toEqual([77, 1, true]);
      expect(watched.next()).toBe(false);
    }
    expect(drainEventFd(eventFd)).toBe(true);
    watched.close();
    libc.close(eventFd);
  });

  test("a watch of an eventfd that is signalled already completes at once", () => {
    const watched = new IoUring(8, 16, ALL);
    const eventFd = createEventFd();
    signalEventFd(eventFd);
    watched.watch(eventFd, 5);
    watched.enter(1);
    expect(watched.next()).toBe(true);
    expect([watched.tag, watched.more]).toEqual([5, true]);
    watched.close();
    libc.close(eventFd);
  });

  test.each([...FLAG_SETS])("works as on kernels that know no flags beyond %d", (flags) => {
    const UNKNOWN = 1 << 30;
    const plain = new IoUring(4, 16, ALL, [UNKNOWN, flags]);
    for (let round = 0; round < 20; round++) {
      plain.read(fd, memory.address, 512, 512 * round, round);
      plain.nop(100 + round);
      plain.enter(2);
      const tags = [];
      while (plain.next()) tags.push([plain.tag, plain.result]);
      expect(tags.sort()).toEqual(
        [
          [100 + round, 0],
          [round, 512],
        ].sort(),
      );
      expect([...memory.u8.subarray(0, 512)]).toEqual([...contents(512 * (round + 1)).subarray(512 * round)]);
    }
    plain.close();
  });

  test("registered files are named by their index", () => {
    const registered = new IoUring(8, 16, ALL);
    registered.registerFiles([fd]);
    registered.read(0, memory.address, 512, 0, 1);
    registered.read(fd, memory.address, 512, 0, 2);
    registered.enter(2);
    const results = [];
    while (registered.next()) results.push([registered.tag, registered.result]);
    expect(results.sort()).toEqual([
      [1, 512],
      [2, -Errno.EBADF],
    ]);
    registered.close();
  });

  test("a signal ends the wait", () => {
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(new URL("./kick-worker.ts", import.meta.url).href);
    worker.postMessage({ tid: threadId(), stop });
    ring.enter(1);
    Atomics.store(stop, 0, 1);
    Atomics.notify(stop, 0);
    expect(ring.next()).toBe(false);
  });
});

test("what the kernel refuses is said with a reason", () => {
  expect(() => new IoUring(0, 16, ALL)).toThrow(IoUringUnavailableError);
});
