import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import type { Disk } from "../../../src/block/disk.ts";

import type { IoEngine } from "../../../src/block/engine.ts";
import { type IoEngineKind, loadEngine } from "../../../src/block/load-engine.ts";
import { openDisk } from "../../../src/block/open-disk.ts";
import { RawDisk } from "../../../src/block/raw-disk.ts";
import { SyncEngine } from "../../../src/block/sync-engine.ts";
import { Errno } from "../../../src/host/errno.ts";
import { createEventFd, signalEventFd } from "../../../src/host/eventfd.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { noIoUring } from "../host/io-uring.ts";
import { Random } from "../random.ts";
import { noDirectIo, openImage, type RawDiskImage, TestFolder } from "./files.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const directIsMissing = noDirectIo(folder) !== undefined;
const KIB = 1024;
const memory = mapAnonymous(8 << 20);

/** Waits for one request and gives its tag and error. */
function finished(disk: Disk): [number, number] {
  while (!disk.next()) disk.wait(true);
  return [disk.tag, disk.error];
}

/** Starts a transfer of one segment. */
function transfer(
  disk: Disk,
  kind: "read" | "write",
  tag: number,
  offset: number,
  address: number,
  length: number,
): void {
  setIovec(disk.segments(tag), 0, address, length);
  disk[kind](tag, offset, length, 1);
}

/**
 * Random requests, many under way at once and none overlapping another, against a copy of the disk that is kept in memory.
 */
function differential(disk: Disk, size: number, seed: number, rounds: number, unit: number): void {
  const random = new Random(seed);
  const reference = new Uint8Array(size);
  const slot = memory.size / disk.tags;
  const busy: ({ from: number; to: number; expected: Uint8Array | undefined; at: number } | undefined)[] = new Array(
    disk.tags,
  ).fill(undefined);
  const take = (): void => {
    const [tag, error] = finished(disk);
    expect(error).toBe(0);
    const request = busy[tag];
    busy[tag] = undefined;
    if (request === undefined) throw new Error(`tag ${tag} is not under way`);
    if (request.expected !== undefined)
      expect(
        Buffer.compare(memory.u8.subarray(request.at, request.at + request.expected.length), request.expected),
      ).toBe(0);
  };
  for (let round = 0; round < rounds; round++) {
    const tag = busy.indexOf(undefined);
    const length = (1 + random.below(Math.min(24 * KIB, slot / 2) / unit)) * unit;
    const from = random.below((size - length) / unit + 1) * unit;
    const to = from + length;
    if (tag < 0 || busy.some((other) => other !== undefined && from < other.to && other.from < to)) {
      take();
      continue;
    }
    // Memory starts at any byte, so that direct I/O has to bounce now and then.
    const at = tag * slot + random.pick([0, 0, 512, 1, 77]);
    const bytes = memory.u8.subarray(at, at + length);
    const kind = random.below(10);
    let expected: Uint8Array | undefined;
    if (kind < 8) {
      const table = disk.segments(tag);
      let count = 0;
      for (let done = 0; done < length; count++) {
        const part = count === table.length / 4 - 1 ? length - done : Math.min(length - done, 1 + random.below(length));
        const segment = random.below(2) === 0 ? part : Math.min(length - done, Math.ceil(part / unit) * unit);
        setIovec(table, count, memory.address + at + done, segment);
        done += segment;
      }
      if (kind < 4) {
        expected = reference.slice(from, to);
        bytes.fill(0xee);
        disk.read(tag, from, length, count);
      } else {
        random.fill(bytes);
        reference.set(bytes, from);
        disk.write(tag, from, length, count);
      }
    } else {
      reference.fill(0, from, to);
      if (kind === 8) disk.discard(tag, from, length);
      else disk.writeZeroes(tag, from, length, random.below(2) === 0);
    }
    busy[tag] = { from, to, expected, at };
    if (random.below(4) === 0) disk.wait(false);
    if (random.below(50) === 0) while (disk.underWay > 0) take();
  }
  while (disk.underWay > 0) take();
  setIovec(disk.segments(0), 0, memory.address, size);
  disk.read(0, 0, size, 1);
  expect(finished(disk)).toEqual([0, 0]);
  expect(Buffer.compare(memory.u8.subarray(0, size), reference)).toBe(0);
}

/** An engine that moves at most `limit` bytes a call, as the kernel may, and then nothing any more. */
class StutteringEngine implements IoEngine {
  readonly #engine: IoEngine;
  readonly #limit: number;
  #calls: number;

  constructor(engine: IoEngine, limit: number, calls: number) {
    this.#engine = engine;
    this.#limit = limit;
    this.#calls = calls;
  }
  get tag(): number {
    return this.#engine.tag;
  }
  get result(): number {
    return this.#engine.result;
  }
  read(fd: number, iovecs: number, count: number, buffer: number, _length: number, offset: number, tag: number): void {
    const { address, length } = this.#shorten(iovecs, count);
    this.#engine.read(fd, address, 1, buffer, length, offset, tag);
  }
  write(fd: number, iovecs: number, count: number, buffer: number, _length: number, offset: number, tag: number): void {
    const { address, length } = this.#shorten(iovecs, count);
    this.#engine.write(fd, address, 1, buffer, length, offset, tag);
  }
  sync(fd: number, tag: number): void {
    this.#engine.sync(fd, tag);
  }
  watch(eventFd: number): void {
    this.#engine.watch(eventFd);
  }
  wait(block: boolean): void {
    this.#engine.wait(block);
  }
  next(): boolean {
    return this.#engine.next();
  }
  close(): void {
    this.#engine.close();
  }
  /** A table of one segment that holds the beginning of the first. */
  #shorten(iovecs: number, count: number): { readonly address: number; readonly length: number } {
    expect(count).toBeGreaterThan(0);
    const copy = mapAnonymous(16);
    libc.memcpy(copy.address, iovecs, 16);
    const length = this.#calls-- > 0 ? Math.min(this.#limit, copy.u32[2] ?? 0) : 0;
    copy.u32[2] = length;
    return { address: copy.address, length };
  }
}

const ENGINES: readonly IoEngineKind[] =
  noIoUring === undefined ? ["io_uring", "aio", "synchronous"] : ["aio", "synchronous"];

for (const kind of ENGINES) {
  const engine = await loadEngine([kind]);
  describe(kind, () => {
    const SIZE = 1 << 20;
    const open = (name: string, options: Parameters<typeof openImage>[1] = {}): RawDiskImage =>
      openImage(folder.file(`${kind}-${name}`, new Uint8Array(SIZE)), options);

    for (const seed of [1, 2, 3])
      test(`does what a plain array does, seed ${seed}`, () => {
        const opened = open("random");
        const disk = openDisk(opened.image, engine, 16, 32);
        differential(disk, SIZE, seed, 3000, 512);
        disk.close();
        opened.close();
      });

    test.skipIf(directIsMissing)("direct I/O does the same, of any alignment", () => {
      for (const unit of [512, 4096]) {
        const opened = open("direct", { direct: true });
        expect(opened.image.alignment).toBeGreaterThan(1);
        // As on a disk with large blocks, so that sectors are smaller than the unit of direct I/O.
        const disk = openDisk({ ...opened.image, alignment: 4096 }, engine, 16, 32);
        differential(disk, SIZE, 4, 1500, unit);
        disk.close();
        opened.close();
      }
    });

    test("large requests, many at once", () => {
      const opened = open("large");
      const disk = openDisk(opened.image, engine, 4, 4);
      const random = new Random(9);
      const quarter = SIZE / 4;
      random.fill(memory.u8.subarray(0, SIZE));
      for (const kind of ["write", "read"] as const) {
        for (let i = 0; i < 4; i++)
          transfer(disk, kind, i, i * quarter, memory.address + (kind === "read" ? SIZE : 0) + i * quarter, quarter);
        const ended = [0, 1, 2, 3].map(() => finished(disk)).sort(([a], [b]) => a - b);
        expect(ended).toEqual([0, 1, 2, 3].map((tag) => [tag, 0]));
      }
      expect(Buffer.compare(memory.u8.subarray(0, SIZE), memory.u8.subarray(SIZE, 2 * SIZE))).toBe(0);
      disk.close();
      opened.close();
    });

    test("requests of more segments than one call takes", () => {
      const opened = open("segments");
      const disk = openDisk(opened.image, engine, 4, 3000);
      const count = 2600;
      const length = 5 * 512;
      new Random(5).fill(memory.u8.subarray(0, length));
      const table = disk.segments(2);
      for (let i = 0; i < count; i++) setIovec(table, i, memory.address + i, i === count - 1 ? length - count + 1 : 1);
      disk.write(2, 1024, length, count);
      expect(finished(disk)).toEqual([2, 0]);
      transfer(disk, "read", 0, 1024, memory.address + 65536, length);
      expect(finished(disk)).toEqual([0, 0]);
      expect(Buffer.compare(memory.u8.subarray(0, length), memory.u8.subarray(65536, 65536 + length))).toBe(0);
      disk.close();
      opened.close();
    });

    test("an image that has become shorter gives EIO for what is gone", () => {
      const opened = open("shrunk");
      const disk = openDisk(opened.image, engine, 4, 4);
      truncateSync(join(folder.path, `${kind}-shrunk`), 64 * KIB);
      transfer(disk, "read", 1, 60 * KIB, memory.address, 8 * KIB);
      expect(finished(disk)).toEqual([1, Errno.EIO]);
      transfer(disk, "read", 1, 56 * KIB, memory.address, 8 * KIB);
      expect(finished(disk)).toEqual([1, 0]);
      disk.close();
      opened.close();
    });

    test("errors of the host are given back: memory that is not there, a disk that is not writable", () => {
      const opened = open("errors", { readonly: true });
      const disk = openDisk(opened.image, engine, 4, 4);
      transfer(disk, "read", 1, 0, 4096, 512);
      expect(finished(disk)).toEqual([1, Errno.EFAULT]);
      transfer(disk, "write", 3, 0, memory.address, 512);
      expect(finished(disk)).toEqual([3, Errno.EBADF]);
      disk.flush(0);
      expect(finished(disk)).toEqual([0, 0]);
      disk.close();
      opened.close();
    });

    test("holes: discarding gives space back, zeroes without leave to do so keeps it", () => {
      const path = folder.file(`${kind}-holes`, new Uint8Array(SIZE).fill(1));
      const opened = openImage(path);
      expect(opened.image.canBeSparse).toBe(true);
      const disk = openDisk(opened.image, engine, 4, 4);
      const full = statSync(path).blocks;
      disk.writeZeroes(0, 0, SIZE / 2, false);
      expect(finished(disk)).toEqual([0, 0]);
      expect(statSync(path).blocks).toBeGreaterThanOrEqual(full);
      disk.discard(1, 0, SIZE / 2);
      expect(finished(disk)).toEqual([1, 0]);
      expect(statSync(path).blocks).toBeLessThan(full);
      disk.writeZeroes(2, SIZE / 2, SIZE / 2, true);
      expect(finished(disk)).toEqual([2, 0]);
      expect(statSync(path).blocks).toBeLessThan(full / 4);
      disk.close();
      opened.close();
      const contents = readFileSync(path);
      expect([contents.length, contents.every((byte) => byte === 0)]).toEqual([SIZE, true]);
    });

    test("a signal of a watched eventfd ends the wait, each time, though nobody reads it", () => {
      const opened = open("watch");
      const disk = openDisk(opened.image, engine, 4, 4);
      const fds = [createEventFd(), createEventFd()];
      for (const fd of fds) disk.watch(fd);
      for (let i = 0; i < 20; i++) {
        signalEventFd(fds[i % 2] ?? -1);
        disk.wait(true);
        expect(disk.next()).toBe(false);
      }
      for (const fd of fds) libc.close(fd);
      disk.close();
      opened.close();
    });

    test("more tags than asked for are never needed, and no more than memory allows are given", () => {
      const opened = open("tags");
      const small = openDisk(opened.image, engine, 3, 8);
      expect(small.tags).toBe(3);
      small.close();
      const large = openDisk(opened.image, engine, 32768, 32768);
      expect(large.tags).toBe(128);
      large.close();
      opened.close();
    });
  });
}

describe("transfers that the kernel cuts short", () => {
  const open = (limit: number, calls: number): [Disk, RawDiskImage] => {
    const opened = openImage(
      folder.file(
        "stutter",
        Uint8Array.from({ length: 64 * KIB }, (_, i) => (i >> 7) ^ i),
      ),
    );
    const engine = new StutteringEngine(new SyncEngine(4), limit, calls);
    return [new RawDisk(opened.image, engine, mapAnonymous(4 * 8 * 16), 4, 8), opened];
  };

  for (const limit of [1000, 4096, 5000])
    test(`go on where they stopped, ${limit} bytes at a time`, () => {
      const [disk, opened] = open(limit, 1000);
      const table = disk.segments(1);
      const lengths = [1, 511, 4096, 3000, 10000, 2872];
      let at = 0;
      for (const [i, length] of lengths.entries()) {
        setIovec(table, i, memory.address + at, length);
        at += length;
      }
      disk.read(1, 512, at, lengths.length);
      expect(finished(disk)).toEqual([1, 0]);
      expect(
        Buffer.compare(memory.u8.subarray(0, at), readFileSync(join(folder.path, "stutter")).subarray(512, 512 + at)),
      ).toBe(0);
      disk.close();
      opened.close();
    });

  test("end with EIO when nothing moves any more", () => {
    const [disk, opened] = open(512, 3);
    transfer(disk, "write", 2, 0, memory.address, 4096);
    expect(finished(disk)).toEqual([2, Errno.EIO]);
    expect(disk.underWay).toBe(0);
    disk.close();
    opened.close();
  });
});
