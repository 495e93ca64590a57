import { afterAll, describe, expect, spyOn, test } from "bun:test";
import { closeSync, copyFileSync, fstatSync, openSync, readFileSync, readSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { PosixImageFile } from "../../../../src/block/image-file.ts";
import { checksumOf } from "../../../../src/block/vhdx/crc32c.ts";
import { guidAt } from "../../../../src/block/vhdx/layout.ts";
import { LogReader } from "../../../../src/block/vhdx/log-reader.ts";
import { LOG_ENTRY_BYTES, LogWriter, MAX_ENTRY_SECTORS } from "../../../../src/block/vhdx/log-writer.ts";
import { libc } from "../../../../src/host/libc.ts";
import { mapAnonymous, munmap } from "../../../../src/host/mmap.ts";
import { Random } from "../../random.ts";
import { DiskDriver } from "../disk-driver.ts";
import { TestFolder } from "../files.ts";
import { checkImage, qemu } from "../qemu.ts";
import { fixChecksums, HEADERS, MIB, makeImage, mapOf } from "./corpus.ts";
import { GUID, logEntry, type MadeImage, madeImage, SECTOR, SIZE } from "./log-entries.ts";

const folder = new TestFolder("memory");
afterAll(() => folder.remove());
const made = (): MadeImage => madeImage(folder.path);

/**
 * What the blocks hold: the first byte of each, as it is found with the log in memory and after it was replayed.
 * @param judge QEMU, which does not follow the specification in all cases, or nobody else
 */
async function blocksOf(image: Buffer, judge: "QEMU" | "nobody" = "QEMU"): Promise<number[]> {
  const path = folder.file("log.vhdx", image);
  const firsts = (contents: Uint8Array): number[] => [0, 1, 2, 3].map((block) => contents[block * MIB] ?? -1);
  const read = async (readonly: boolean): Promise<number[]> => {
    using driver = await DiskDriver.open(path, { format: "vhdx", readonly });
    return firsts(driver.read(0, SIZE));
  };
  const qemus = join(folder.path, "qemus.vhdx");
  copyFileSync(path, qemus);
  const inMemory = await read(true);
  expect(readFileSync(path).equals(image)).toBeTrue();
  expect(await read(false)).toEqual(inMemory);
  checkImage(path, "vhdx");
  if (judge === "QEMU") {
    qemu("qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", qemus);
    qemu("qemu-img", "compare", "-q", "-f", "vhdx", "-F", "vhdx", path, qemus);
  }
  return inMemory;
}

test("what is written to the log is read from it, to the last bit", () => {
  const random = new Random(1);
  const path = folder.file("written", new Uint8Array(2 * MIB));
  const fd = openSync(path, "r+");
  const memory = mapAnonymous(LOG_ENTRY_BYTES);
  const extent = { offset: MIB, length: MIB };
  const writer = new LogWriter(new PosixImageFile(fd), memory, extent);
  for (let sequence = 1; sequence <= 4; sequence++) {
    const sectors = Array.from({ length: [1, MAX_ENTRY_SECTORS, 3, 2][sequence - 1] ?? 0 }, (_, i) => {
      const data = Buffer.alloc(SECTOR);
      random.fill(data);
      return { offset: 2 * MIB + i * SECTOR, length: SECTOR, data };
    });
    writer.begin();
    for (const [i, { offset, data }] of sectors.entries())
      expect(writer.add(offset, data)).toBe(i + 1 < MAX_ENTRY_SECTORS);
    writer.write({ guid: GUID, sequence, fileBytes: 2 * MIB });
    const found = new LogReader(path, fd, extent, guidAt(GUID, 0)).activeSequence(2 * MIB);
    expect([...found.updates()]).toEqual(sectors);
    expect(found.lastFileOffset).toBe(2 * MIB);
  }
  closeSync(fd);
  munmap(memory.address, memory.size);
});

describe("a log as other programs write it", () => {
  test("the image without its log", async () => {
    const { image, put, table, bat } = made();
    put(0, logEntry(7, 0, image.length, [{ offset: bat, data: table }]));
    expect(await blocksOf(image)).toEqual([5, 6, 0, 0]);
  });

  test("several entries, of which the first goes on at the log's start, are replayed in their order", async () => {
    const { image, put, table, withoutSecond, bat } = made();
    const start = MIB - SECTOR;
    const second = put(start, logEntry(5, start, image.length, [{ offset: bat, data: withoutSecond }]));
    const third = put(second, logEntry(6, start, image.length, [{ offset: bat, data: table }]));
    put(third, logEntry(7, start, image.length, [{ offset: bat, data: SECTOR }]));
    expect(await blocksOf(image)).toEqual([0, 0, 0, 0]);
  });

  test("what is older than the tail is not replayed", async () => {
    const { image, put, withoutSecond, bat, metadata } = made();
    const second = put(8 * SECTOR, logEntry(5, 8 * SECTOR, image.length, [{ offset: metadata, data: SECTOR }]));
    put(second, logEntry(6, second, image.length, [{ offset: bat, data: withoutSecond }]));
    // The first entry would leave an image without metadata.
    expect(await blocksOf(image, "nobody")).toEqual([5, 0, 0, 0]);
  });

  test("of two sequences the newer one counts, and one whose tail is gone does not", async () => {
    const { image, put, table, withoutSecond, bat } = made();
    put(100 * SECTOR, logEntry(20, 100 * SECTOR, image.length, [{ offset: bat, data: withoutSecond }]));
    put(10 * SECTOR, logEntry(30, 4 * SECTOR, image.length, [{ offset: bat, data: SECTOR }]));
    put(50 * SECTOR, logEntry(19, 50 * SECTOR, image.length, [{ offset: bat, data: table }]));
    expect(await blocksOf(image, "nobody")).toEqual([5, 0, 0, 0]);
  });

  test("an entry of more descriptors than a sector holds", async () => {
    const { image, put, withoutSecond, bat } = made();
    const rest = Array.from({ length: 200 }, (_, i) => ({
      offset: bat + (i + 1) * SECTOR,
      data: Buffer.alloc(SECTOR),
    }));
    put(MIB - 5 * SECTOR, logEntry(1, MIB - 5 * SECTOR, image.length, [...rest, { offset: bat, data: withoutSecond }]));
    expect(await blocksOf(image, "nobody")).toEqual([5, 0, 0, 0]);
  });

  test("the file is made as long as its log tells", async () => {
    const { image, put, table, bat } = made();
    const place = image.length;
    const longer = Buffer.from(table);
    longer.writeBigUInt64LE(BigInt(place) | 6n, 16);
    const entry = logEntry(1, 0, image.length, [{ offset: bat, data: longer }]);
    entry.writeBigUInt64LE(BigInt(place + MIB), 56);
    entry.writeUInt32LE(checksumOf(entry), 4);
    put(0, entry);
    expect(await blocksOf(image, "nobody")).toEqual([5, 6, 0, 0]);
    expect(readFileSync(join(folder.path, "log.vhdx")).length).toBe(place + MIB);
  });

  test("zeroes beyond the file's end take no space, whatever the file system can do", async () => {
    const { image, put } = made();
    put(0, logEntry(1, 0, image.length, [{ offset: image.length, data: 64 * MIB }]));
    const path = folder.file("beyond.vhdx", image);
    {
      // A mode that there is not fails as all do where there are none: EOPNOTSUPP.
      const { fallocate } = libc;
      using _ = spyOn(libc, "fallocate").mockImplementation((fd) => fallocate(fd, 1 << 30, 0, 4096));
      using driver = await DiskDriver.open(path, { format: "vhdx" });
      expect(driver.read(0, 1)[0]).toBe(5);
    }
    expect(statSync(path).size).toBeLessThan(image.length + 2 * MIB);
  });

  test("a log that changes more of the block table than is kept is replayed, but not read around", async () => {
    const path = join(folder.path, "large.vhdx");
    // A table of 4096 sectors and more.
    makeImage(path, "3T", "subformat=dynamic,block_size=1M");
    const fd = openSync(path, "r+");
    const head = Buffer.alloc(32 * MIB);
    readSync(fd, head, 0, head.length, 0);
    const { bat, log } = mapOf(head);
    for (const at of HEADERS) GUID.copy(head, at + 48);
    const { size } = fstatSync(fd);
    logEntry(1, 0, size, [{ offset: bat, data: 4096 * SECTOR }]).copy(head, log);
    fixChecksums(head);
    writeSync(fd, head, 0, head.length, 0);
    closeSync(fd);
    const open = (readonly: boolean): Promise<DiskDriver> => DiskDriver.open(path, { format: "vhdx", readonly });
    await expect(open(true)).rejects.toThrow("its log is large: open it once for writing");
    (await open(false))[Symbol.dispose]();
    (await open(true))[Symbol.dispose]();
  });

  test("a log that takes long to go over is refused", async () => {
    const { image, put } = made();
    put(0, logEntry(1, 0, image.length, [{ offset: image.length, data: MIB }]));
    for (const at of HEADERS) image.writeUInt32LE(65 * MIB, at + 68);
    fixChecksums(image);
    const path = folder.file("long.vhdx", Buffer.concat([image, Buffer.alloc(66 * MIB)]));
    for (const readonly of [true, false])
      await expect(DiskDriver.open(path, { format: "vhdx", readonly })).rejects.toThrow("at most are gone over here");
  });

  test.each([
    ["a log of another time", 32],
    ["a descriptor of another entry", 64 + 24],
    ["no descriptor", 64],
    ["data of another entry, high", SECTOR + 4],
    ["data of another entry, low", 2 * SECTOR - 4],
    ["no data", SECTOR],
    ["one descriptor less", 24],
  ])("an entry with a right checksum and %s is none", async (_what, at) => {
    const { image, put, table, bat } = made();
    const entry = logEntry(1, 0, image.length, [{ offset: bat, data: table }]);
    entry.writeUInt8(entry.readUInt8(at) ^ 1, at);
    entry.writeUInt32LE(0, 4);
    entry.writeUInt32LE(checksumOf(entry), 4);
    put(0, entry);
    const path = folder.file("wrong.vhdx", image);
    await expect(DiskDriver.open(path, { format: "vhdx" })).rejects.toThrow("its log is damaged");
  });

  test("an entry that changes data is replayed, but cannot be read around", async () => {
    const { image, put, table, bat } = made();
    const block = Number(image.readBigUInt64LE(bat) & ~7n);
    const data = Buffer.alloc(SECTOR, 9);
    put(
      0,
      logEntry(1, 0, image.length, [
        { offset: bat, data: table },
        { offset: block, data },
      ]),
    );
    const path = folder.file("data.vhdx", image);
    await expect(DiskDriver.open(path, { format: "vhdx", readonly: true })).rejects.toThrow("open it once for writing");
    using driver = await DiskDriver.open(path, { format: "vhdx" });
    expect(driver.read(0, SECTOR + 1)).toEqual(new Uint8Array(SECTOR + 1).fill(9).fill(5, SECTOR));
  });
});
