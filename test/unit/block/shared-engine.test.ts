import { afterAll, describe, expect, test } from "bun:test";
import type { IoEngine } from "../../../src/block/engine.ts";
import { type IoEngineKind, loadEngine } from "../../../src/block/load-engine.ts";
import { openDisk } from "../../../src/block/open-disk.ts";
import type { RawDisk } from "../../../src/block/raw-disk.ts";
import { sharedEngine } from "../../../src/block/shared-engine.ts";
import { createEventFd, signalEventFd } from "../../../src/host/eventfd.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous, munmap } from "../../../src/host/mmap.ts";
import { noIoUring } from "../host/io-uring.ts";
import { Random } from "../random.ts";
import { openImage, TestFolder } from "./files.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const DISKS = 3;
const DEPTH = 8;
const UNIT = 4096;
const SIZE = 1 << 20;
const memory = mapAnonymous(DISKS * DEPTH * UNIT);
afterAll(() => munmap(memory.address, memory.size));

const ENGINES: readonly IoEngineKind[] =
  noIoUring === undefined ? ["io_uring", "aio", "synchronous"] : ["aio", "synchronous"];

for (const kind of ENGINES)
  describe(kind, async () => {
    const engine = await loadEngine([kind]);
    let number = 0;
    const open = () => {
      const opened = openImage(folder.file(`${kind}-${number++}`, new Uint8Array(SIZE)), {});
      const shared = sharedEngine(engine, DISKS);
      return { opened, disks: Array.from({ length: DISKS }, () => openDisk(opened.image, shared, DEPTH, 1)) };
    };
    const buffer = (disk: number, tag: number): number => (disk * DEPTH + tag) * UNIT;
    const start = (disks: readonly RawDisk[], i: number, write: boolean, tag: number, offset: number): void => {
      const disk = disks[i];
      if (disk === undefined) throw new Error("no disk");
      setIovec(disk.segments(tag), 0, memory.address + buffer(i, tag), UNIT);
      if (write) disk.write(tag, offset, UNIT, 1);
      else disk.read(tag, offset, UNIT, 1);
    };

    test("each disk gets what it asked for, whoever waits", () => {
      const { opened, disks } = open();
      const random = new Random(5);
      const content = new Uint8Array(SIZE);
      const busy = disks.map(() => new Map<number, Uint8Array | undefined>());
      const pages = new Set<number>();
      const pageOf = disks.map(() => new Map<number, number>());
      const takeAll = (): void => {
        disks.forEach((disk, i) => {
          while (disk.next()) {
            expect(disk.error).toBe(0);
            const expected = busy[i]?.get(disk.tag);
            expect(busy[i]?.has(disk.tag)).toBe(true);
            const at = buffer(i, disk.tag);
            if (expected !== undefined) expect(Buffer.compare(memory.u8.subarray(at, at + UNIT), expected)).toBe(0);
            busy[i]?.delete(disk.tag);
            pages.delete(pageOf[i]?.get(disk.tag) ?? -1);
          }
        });
      };
      for (let round = 0; round < 2000; round++) {
        const i = random.below(DISKS);
        const tag = random.below(DEPTH);
        const page = random.below(SIZE / UNIT);
        if (busy[i]?.has(tag) === true || pages.has(page)) {
          disks[random.below(DISKS)]?.wait(random.below(2) === 0 && disks.some(({ underWay }) => underWay > 0));
          takeAll();
          continue;
        }
        const write = random.below(2) === 0;
        const at = buffer(i, tag);
        const bytes = memory.u8.subarray(at, at + UNIT);
        if (write) {
          random.fill(bytes);
          content.set(bytes, page * UNIT);
        } else bytes.fill(0xee);
        busy[i]?.set(tag, write ? undefined : content.slice(page * UNIT, (page + 1) * UNIT));
        pageOf[i]?.set(tag, page);
        pages.add(page);
        start(disks, i, write, tag, page * UNIT);
      }
      while (disks.some(({ underWay }) => underWay > 0)) {
        disks[0]?.wait(true);
        takeAll();
      }
      expect(busy.map(({ size }) => size)).toEqual(disks.map(() => 0));
      for (const disk of disks) disk.close();
      opened.close();
    });

    test("a wait does not sleep over what another disk has not taken", () => {
      const { opened, disks } = open();
      const [first, second] = disks;
      if (first === undefined || second === undefined) throw new Error("no disks");
      start(disks, 1, true, 3, 0);
      // Collects what is the second's.
      while (second.underWay > 0) {
        first.wait(true);
        expect(first.next()).toBe(false);
        first.wait(true);
        if (second.next()) expect([second.tag, second.error]).toEqual([3, 0]);
      }
      for (const disk of disks) disk.close();
      opened.close();
    });

    test("a signal that one disk watches ends the wait of any", () => {
      const { opened, disks } = open();
      const eventFd = createEventFd();
      disks[2]?.watch(eventFd);
      signalEventFd(eventFd);
      disks[0]?.wait(true);
      expect(disks.map((disk) => disk.next())).toEqual([false, false, false]);
      for (const disk of disks) disk.close();
      libc.close(eventFd);
      opened.close();
    });
  });

test("the engine is opened once, for the tags of all, and closed with the last disk", () => {
  const told: string[] = [];
  const engine: IoEngine = {
    tag: 0,
    result: 0,
    read: () => undefined,
    write: () => undefined,
    sync: () => undefined,
    watch: () => undefined,
    wait: () => undefined,
    next: () => false,
    close: () => told.push("closed"),
  };
  const open = sharedEngine((tags, cached) => {
    told.push(`${tags} tags, ${cached ? "cached" : "direct"}`);
    return engine;
  }, 2);
  const shares = [open(5, true), open(5, true)];
  expect(told).toEqual(["10 tags, cached"]);
  shares[0]?.close();
  expect(told).toEqual(["10 tags, cached"]);
  shares[1]?.close();
  expect(told).toEqual(["10 tags, cached", "closed"]);
});
