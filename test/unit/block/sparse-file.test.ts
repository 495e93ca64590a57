import { afterAll, expect, test } from "bun:test";
import { closeSync, constants, ftruncateSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Disk } from "../../../src/block/disk.ts";
import { immediateSink, scanDisk } from "../../../src/block/disk-scan.ts";
import { type IoEngineKind, loadEngine } from "../../../src/block/load-engine.ts";
import { openDisk } from "../../../src/block/open-disk.ts";
import { SparseWriter } from "../../../src/block/sparse-file.ts";
import { TestFolder } from "./files.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const UNIT = 64 << 10;
/** Chunks of a MiB each with another pattern of units that are zeroes, and an end inside a unit. */
const contents = new Uint8Array((20 << 20) + 3 * UNIT + 1536);
const isData = (unit: number): boolean =>
  (((unit >> 4) * 0x9e37_79b1) % 65521) & (1 << (unit & 15)) ? true : unit > 320;
for (let unit = 0; unit * UNIT < contents.length; unit++)
  // One byte is enough, wherever it is.
  if (isData(unit)) contents[Math.min(unit * UNIT + ((unit * 7919) % UNIT), contents.length - 1)] = 1 + (unit % 255);
const source = folder.file("source", contents);

interface Access {
  readonly path: string;
  readonly flags: number;
  readonly engine: IoEngineKind;
}

/** Runs `use` with a thread's access to a file. */
async function withDisk<T>({ path, flags, engine }: Access, use: (disk: Disk) => Promise<T>): Promise<T> {
  const fd = openSync(path, flags);
  const cachedFd = openSync(path, flags & ~constants.O_DIRECT);
  const alignment = (flags & constants.O_DIRECT) === 0 ? 1 : 4096;
  const file = { fd, cachedFd, alignment, isDevice: false, endsInZeroes: true };
  const disk = openDisk(file, await loadEngine([engine]), 8, 1);
  try {
    return await use(disk);
  } finally {
    disk.close();
    closeSync(cachedFd);
    closeSync(fd);
  }
}

function copy(target: Access): Promise<number> {
  const { signal } = new AbortController();
  let done = 0;
  const count = (bytes: number): void => {
    done += bytes;
  };
  return withDisk({ path: source, flags: constants.O_RDONLY, engine: target.engine }, (from) =>
    withDisk(target, async (to) => {
      await scanDisk(from, new SparseWriter(to), { size: contents.length, zeroes: () => 0, signal, progress: count });
      return done;
    }),
  );
}

for (const engine of ["io_uring", "synchronous"] as const)
  for (const [name, flag] of [
    ["directly", constants.O_DIRECT],
    ["through the page cache", 0],
  ] as const)
    test(`units that are not zeroes are written, the others are holes: ${name}, ${engine}`, async () => {
      const path = join(folder.path, `new-${engine}-${flag}`);
      const fd = openSync(path, "wx");
      ftruncateSync(fd, contents.length);
      closeSync(fd);
      expect(await copy({ path, flags: constants.O_RDWR | flag, engine })).toBe(contents.length);
      expect(readFileSync(path).equals(contents)).toBeTrue();
      let data = 0;
      for (let unit = 0; unit * UNIT < contents.length; unit++)
        if (isData(unit)) data += Math.min(UNIT, contents.length - unit * UNIT);
      const { blocks } = statSync(path);
      expect(blocks * 512).toBeGreaterThanOrEqual(data);
      expect(blocks * 512).toBeLessThan(data + UNIT);
    });

for (const engine of ["io_uring", "synchronous"] as const)
  test(`a write that fails ends it, and says where: ${engine}`, async () => {
    const path = folder.file(`read-only-${engine}`, new Uint8Array(contents.length));
    await expect(copy({ path, flags: constants.O_RDONLY, engine })).rejects.toThrow(/write .* at \d+.*EBADF/);
  });

test("zeroes that are known are not read, in whole chunks, and count as done", async () => {
  const CHUNK = 1 << 20;
  const data = new Uint8Array(12 * CHUNK + 1536);
  for (const at of [CHUNK - 1, 2 * CHUNK, 5 * CHUNK + 700_000, 10 * CHUNK - 1]) data[at] = 1;
  const path = folder.file("few", data);
  // In pieces that end anywhere, and not all of them.
  const zeroes = (offset: number): number => {
    let end = offset;
    while (end < data.length && data[end] === 0 && end - offset < 300_000) end++;
    return end < 11 * CHUNK ? end - offset : 0;
  };
  const read: number[] = [];
  let done = 0;
  const progress = (bytes: number): void => {
    done += bytes;
  };
  const sink = immediateSink((offset, bytes) => {
    read.push(offset / CHUNK);
    expect(Buffer.compare(bytes, data.subarray(offset, offset + bytes.length))).toBe(0);
  });
  const { signal } = new AbortController();
  await withDisk({ path, flags: constants.O_RDONLY, engine: "io_uring" }, (disk) =>
    scanDisk(disk, sink, { size: data.length, zeroes, signal, progress }),
  );
  expect(read.sort((a, b) => a - b)).toEqual([0, 2, 5, 9, 10, 11, 12]);
  expect(done).toBe(data.length);

  read.length = 0;
  const all = (offset: number): number => data.length - offset;
  await withDisk({ path, flags: constants.O_RDONLY, engine: "synchronous" }, (disk) =>
    scanDisk(disk, sink, { size: data.length, zeroes: all, signal, progress }),
  );
  expect([read, done]).toEqual([[], 2 * data.length]);
});
