import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { AioEngine } from "../../../src/block/aio-engine.ts";
import { type IoEngineKind, loadEngine } from "../../../src/block/load-engine.ts";
import { SyncEngine } from "../../../src/block/sync-engine.ts";
import { UringEngine } from "../../../src/block/uring-engine.ts";
import { Errno } from "../../../src/host/errno.ts";
import { createEventFd } from "../../../src/host/eventfd.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous, munmap } from "../../../src/host/mmap.ts";
import { enginesFor } from "../../../src/vmm/devices/disk.ts";
import { noIoUring } from "../host/io-uring.ts";
import { Random } from "../random.ts";

const memory = mapAnonymous(4096);
afterAll(() => munmap(memory.address, memory.size));

async function classOf(kinds: readonly IoEngineKind[], tags = 4): Promise<unknown> {
  const engine = (await loadEngine(kinds))(tags, false);
  engine.close();
  return engine.constructor;
}

describe("engines of a disk, from best to plainest", () => {
  const all = { disable_io_uring: false, disable_aio: false };
  const noUring = { ...all, disable_io_uring: true };

  test("Linux AIO is for raw images only", () => {
    expect(enginesFor(all, "raw")).toEqual(["io_uring", "aio", "synchronous"]);
    for (const format of ["qcow2", "vhd"] as const) {
      expect(enginesFor(all, format)).toEqual(["io_uring", "synchronous"]);
      expect(enginesFor(noUring, format)).toEqual(["synchronous"]);
    }
  });

  test("what is disabled is left out", () => {
    expect(enginesFor(noUring, "raw")).toEqual(["aio", "synchronous"]);
    expect(enginesFor({ ...all, disable_aio: true }, "raw")).toEqual(["io_uring", "synchronous"]);
    expect(enginesFor({ disable_io_uring: true, disable_aio: true }, "raw")).toEqual(["synchronous"]);
  });
});

describe("the first engine that the kernel has is used", () => {
  test.skipIf(noIoUring !== undefined)("io_uring before all", async () => {
    expect(await classOf(["io_uring", "aio", "synchronous"])).toBe(UringEngine);
    expect(await classOf(["io_uring", "synchronous"])).toBe(UringEngine);
  });

  test("then Linux AIO", async () => {
    expect(await classOf(["aio", "synchronous"])).toBe(AioEngine);
  });

  test("then system calls", async () => {
    expect(await classOf(["synchronous"])).toBe(SyncEngine);
    const allOfAio = Number(readFileSync("/proc/sys/fs/aio-max-nr", "utf8"));
    expect(await classOf(["aio", "synchronous"], allOfAio + 1)).toBe(SyncEngine);
    // No ring has no entries.
    expect(await classOf(["io_uring", "synchronous"], 0)).toBe(SyncEngine);
  });
});

describe("requests that Linux AIO refuses", () => {
  const BAD_FD = -1;

  test("complete with the reason and the others with theirs, while some have not been taken yet", () => {
    const TAGS = 4;
    const random = new Random(3);
    const engine = new AioEngine(TAGS);
    const file = libc.memfd_create(memory.address, 0);
    libc.ftruncate(file, 512);
    const iovecs = mapAnonymous(16);
    setIovec(iovecs.u32, 0, memory.address, 512);
    const expected: (number | undefined)[] = new Array(TAGS).fill(undefined);
    for (let round = 0; round < 2000; round++) {
      for (let tag = 0; tag < TAGS; tag++) {
        if (expected[tag] !== undefined || random.below(2) === 0) continue;
        const isBad = random.below(2) === 0;
        engine.read(isBad ? BAD_FD : file, iovecs.address, 1, memory.address, 512, 0, tag);
        expected[tag] = isBad ? -Errno.EBADF : 512;
      }
      engine.wait(false);
      for (let taken = random.below(3); taken > 0 && engine.next(); taken--) {
        expect(engine.result).toBe(expected[engine.tag] ?? Number.NaN);
        expected[engine.tag] = undefined;
      }
    }
    for (let left = expected.filter((result) => result !== undefined).length; left > 0; ) {
      if (engine.next()) left--;
      else engine.wait(true);
    }
    libc.close(file);
    munmap(iovecs.address, iovecs.size);
    engine.close();
  });

  test("a completion ends a wait that has begun before it", () => {
    const engine = new AioEngine(4);
    const doorbell = createEventFd();
    engine.watch(doorbell);
    const iovecs = mapAnonymous(16);
    setIovec(iovecs.u32, 0, memory.address, 512);
    const file = libc.memfd_create(memory.address, 0);
    for (let round = 0; round < 100; round++) {
      engine.sync(file, round % 4);
      do engine.wait(true);
      while (!engine.next());
      expect(engine.tag).toBe(round % 4);
    }
    libc.close(file);
    libc.close(doorbell);
    munmap(iovecs.address, iovecs.size);
    engine.close();
  });
});
