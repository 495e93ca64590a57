import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { imageInfo } from "../../../../src/block/image-info.ts";
import { resizeImage } from "../../../../src/block/resize-image.ts";
import { crc32c } from "../../../../src/block/vhdx/crc32c.ts";
import { DiskDriver } from "../disk-driver.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { checkImage, qemu } from "../qemu.ts";
import { dirtyImage, fixChecksums, HEADERS, ItemId, MIB, makeImage, mapOf, REGION_TABLES } from "./corpus.ts";

const folder = new TestFolder("memory");
afterAll(() => folder.remove());
const image = (name: string, options = "subformat=dynamic", size = "4M"): string =>
  makeImage(join(folder.path, name), size, options);

test("CRC-32C, in one piece and in several", () => {
  const digits = new TextEncoder().encode("123456789");
  expect(crc32c(digits)).toBe(0xe306_9283);
  expect(crc32c(digits.subarray(4), crc32c(digits.subarray(0, 4)))).toBe(0xe306_9283);
});

describe("an image made by QEMU", () => {
  for (const subformat of ["dynamic", "fixed"])
    test(`${subformat}: is known by its contents, described and read`, async () => {
      const path = image(subformat, `subformat=${subformat}`);
      qemu("qemu-io", "-f", "vhdx", "-c", "write -q -P 7 1000k 100k", path);
      const before = readFileSync(path);
      for (const format of [undefined, "vhdx"] as const) {
        const opened = openAnyImage(path, { format });
        expect([opened.format, opened.image.size, opened.protectFirstSector]).toEqual(["vhdx", 4 * MIB, false]);
        expect(opened.warnings).toEqual([]);
        expect(structuredClone(opened.image)).toEqual(opened.image);
        opened.close();
      }
      expect(() => openAnyImage(path, { format: "raw" })).toThrow("is a vhdx image, not raw: correct image_type");
      expect(imageInfo(path)).toMatchObject({
        diskBytes: 4 * MIB,
        vhdx: { blockBytes: MIB, isFixed: subformat === "fixed", logicalSector: 512 },
      });
      {
        using driver = await DiskDriver.open(path, { format: "vhdx" });
        expect(driver.read(1000 * 1024, 100 * 1024)).toEqual(new Uint8Array(100 * 1024).fill(7));
        expect(driver.read(2 * MIB, MIB)).toEqual(new Uint8Array(MIB));
      }
      expect(readFileSync(path).equals(before)).toBeTrue();
    });

  test("keeps its size", () => {
    const opened = openAnyImage(image("size"), { format: "vhdx" });
    expect(() => resizeImage(opened.image, 8 * MIB, true)).toThrow("a VHDX image keeps its size");
    opened.close();
  });

  test("tells in its headers that it was changed, once a session, and only then", async () => {
    const path = image("guids");
    const guids = (): string[] => {
      const bytes = readFileSync(path);
      const [first, second] = HEADERS.map((at) => bytes.subarray(at, at + 4096));
      const current = (first?.readBigUInt64LE(8) ?? 0n) > (second?.readBigUInt64LE(8) ?? 0n) ? first : second;
      // Should one be damaged, the other one says the same.
      expect(second?.subarray(16)).toEqual(first?.subarray(16) ?? second);
      return [16, 32, 48].map((at) => (current ?? bytes).toString("hex", at, at + 16));
    };
    // QEMU writes only one header when it makes an image.
    await DiskDriver.open(path, { format: "vhdx" }).then((driver) => {
      driver.write(2 * MIB, new Uint8Array(512).fill(9));
      driver[Symbol.dispose]();
    });
    const [file, data, log] = guids();
    {
      using driver = await DiskDriver.open(path, { format: "vhdx" });
      driver.read(0, 512);
      driver.flush();
      expect(guids()).toEqual([file ?? "", data ?? "", log ?? ""]);
      driver.write(0, new Uint8Array(512).fill(1));
      const changed = guids();
      expect(changed[0]).not.toBe(file);
      expect(changed[1]).not.toBe(data);
      expect(changed[2]).toBe("0".repeat(32));
      driver.flush();
      const flushed = guids();
      expect(flushed.slice(0, 2)).toEqual(changed.slice(0, 2));
      expect(flushed[2]).not.toBe("0".repeat(32));
      driver.write(MIB, new Uint8Array(512).fill(1));
      driver.flush();
      expect(guids()).toEqual(flushed);
    }
    expect(guids()[2]).toBe("0".repeat(32));
    checkImage(path, "vhdx");
  });

  test("grows by a block for each one that is written, and not when one is discarded and written again", async () => {
    const path = image("growth");
    const empty = statSync(path).size;
    using driver = await DiskDriver.open(path, { format: "vhdx" });
    driver.write(0, new Uint8Array(2 * MIB).fill(1));
    driver.flush();
    expect(statSync(path).size).toBe(empty + 2 * MIB);
    const space = statSync(path).blocks;
    for (let i = 0; i < 3; i++) {
      driver.discard(0, 2 * MIB);
      driver.flush();
      expect(statSync(path).blocks).toBeLessThan(space - (1 << 11));
      expect(driver.read(MIB - 512, 1024)).toEqual(new Uint8Array(1024));
      driver.write(MIB, new Uint8Array(512).fill(2));
      expect(driver.read(MIB - 512, 1536)).toEqual(new Uint8Array(1536).fill(2, 512, 1024));
    }
    expect(statSync(path).size).toBe(empty + 2 * MIB);
  });

  test("of sectors of 4096 bytes is presented as one", () => {
    const path = image("sectors");
    const bytes = readFileSync(path);
    const at = mapOf(bytes).items.get(ItemId.LOGICAL_SECTOR_SIZE) ?? 0;
    bytes.writeUInt32LE(4096, at);
    const opened = openAnyImage(folder.file("sectors.4k", bytes), { format: "vhdx" });
    expect(opened.image.topology.logicalBlock).toBe(4096);
    opened.close();
  });

  test("of 2 TiB in blocks of 1 MiB, with more of its table in use than stays in memory", async () => {
    const path = image("huge", "subformat=dynamic", "2T");
    const stride = 512 * MIB;
    const count = 2100;
    const contents = (i: number): Uint8Array => new Uint8Array(512).fill(1 + (i % 255));
    {
      using driver = await DiskDriver.open(path, { format: "vhdx" });
      for (let i = 0; i < count; i++) driver.write(i * stride, contents(i));
      for (let i = 0; i < count; i++) expect(driver.read(i * stride, 512)).toEqual(contents(i));
    }
    checkImage(path, "vhdx");
    using driver = await DiskDriver.open(path, { format: "vhdx", readonly: true });
    for (let i = 0; i < count; i += 99) expect(driver.read(i * stride, 512)).toEqual(contents(i));
    expect(driver.read((count - 1) * stride + 512, 512)).toEqual(new Uint8Array(512));
  }, 60_000);
});

describe("blocks that hold no data but have a place, as other programs leave them", () => {
  const [UNDEFINED, UNMAPPED] = [1, 3];
  /** An image whose first two blocks were given up. @param places of the two, as numbers of blocks that were written */
  const withStates = (state: number, places: readonly [number, number]): string => {
    const path = image("states");
    for (const block of [0, 1]) qemu("qemu-io", "-f", "vhdx", "-c", `write -q -P 9 ${block}M 1M`, path);
    const bytes = readFileSync(path);
    const { bat } = mapOf(bytes);
    const entries = [0, 1].map((block) => bytes.readBigUInt64LE(bat + 8 * block));
    places.forEach((place, block) => {
      bytes.writeBigUInt64LE(((entries[place] ?? 0n) & ~7n) | BigInt(state), bat + 8 * block);
    });
    return folder.file("states.changed", bytes);
  };

  for (const state of [UNDEFINED, UNMAPPED])
    test(`state ${state}: they read as zeroes and keep their places, which hold old data`, async () => {
      const path = withStates(state, [0, 1]);
      const { size } = statSync(path);
      {
        using driver = await DiskDriver.open(path, { format: "vhdx" });
        expect(driver.read(0, 2 * MIB)).toEqual(new Uint8Array(2 * MIB));
        driver.write(512, new Uint8Array(512).fill(1));
        driver.zero(MIB + 512, 512, false);
        expect(driver.read(0, 2 * MIB)).toEqual(new Uint8Array(2 * MIB).fill(1, 512, 1024));
      }
      expect(statSync(path).size).toBe(size);
      checkImage(path, "vhdx");
      expect(qemu("qemu-io", "-r", "-f", "vhdx", "-c", "read -P 0 1024 1M", path)).not.toContain("failed");
      const bytes = readFileSync(path);
      const place = Number(bytes.readBigUInt64LE(mapOf(bytes).bat + 8) & ~7n);
      expect(bytes.subarray(place, place + MIB).every((byte) => byte === 0)).toBeTrue();
    });

  test("a place that two of them name is neither's", async () => {
    const path = withStates(UNMAPPED, [1, 1]);
    const { size } = statSync(path);
    {
      using driver = await DiskDriver.open(path, { format: "vhdx" });
      driver.write(0, new Uint8Array(MIB).fill(1));
      driver.write(MIB, new Uint8Array(MIB).fill(2));
      expect(driver.read(0, 2 * MIB)).toEqual(new Uint8Array(2 * MIB).fill(1, 0, MIB).fill(2, MIB));
    }
    expect(statSync(path).size).toBe(size + 2 * MIB);
    checkImage(path, "vhdx");
  });
});

test("a file that ends inside a MiB is made longer before its log says how long it is", async () => {
  const path = image("partial", "subformat=fixed,block_state_zero=off", "1536k");
  expect(statSync(path).size % MIB).not.toBe(0);
  const copy = join(folder.path, "partial.copy");
  {
    using driver = await DiskDriver.open(path, { format: "vhdx" });
    driver.write(0, new Uint8Array(512).fill(1));
    expect(statSync(path).size % MIB).toBe(0);
    driver.write(1536 * 1024 - 512, new Uint8Array(512).fill(2));
    driver.flush();
    copyFileSync(path, copy);
  }
  for (const file of [path, copy]) {
    using driver = await DiskDriver.open(file, { format: "vhdx" });
    expect(driver.read(1536 * 1024 - 512, 512)).toEqual(new Uint8Array(512).fill(2));
  }
  checkImage(copy, "vhdx");
});

describe("an image that was not closed properly", () => {
  const expectContents = (driver: DiskDriver): void => {
    expect(driver.read(100 * 1024, 50 * 1024)).toEqual(new Uint8Array(50 * 1024).fill(3));
    expect(driver.read(MIB, MIB)).toEqual(new Uint8Array(MIB));
    expect(driver.read(3 * MIB, 4096)).toEqual(new Uint8Array(4096));
    expect(driver.read(3 * MIB + 4096, 4096)).toEqual(new Uint8Array(4096).fill(9));
  };

  test("is read as its log has it, and stays as it is", async () => {
    const path = folder.file("dirty", await dirtyImage(folder.path));
    const before = readFileSync(path);
    using driver = await DiskDriver.open(path, { format: "vhdx", readonly: true });
    expectContents(driver);
    expect(imageInfo(path).diskBytes).toBe(4 * MIB);
    expect(readFileSync(path).equals(before)).toBeTrue();
  });

  test("is brought up to date when it is opened for writing, and QEMU agrees", async () => {
    const path = folder.file("dirty", await dirtyImage(folder.path));
    const qemus = join(folder.path, "qemus");
    copyFileSync(path, qemus);
    expect(() => qemu("qemu-img", "check", "-q", "-f", "vhdx", path)).toThrow("log that needs to be replayed");
    {
      using driver = await DiskDriver.open(path, { format: "vhdx" });
      expectContents(driver);
    }
    checkImage(path, "vhdx");
    qemu("qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", qemus);
    qemu("qemu-img", "compare", "-f", "vhdx", "-F", "vhdx", path, qemus);
  });

  test("is refused when it has been cut shorter than its log tells", async () => {
    const path = folder.file("dirty", await dirtyImage(folder.path));
    truncateSync(path, statSync(path).size - MIB);
    for (const readonly of [false, true])
      expect(() => openAnyImage(path, { format: "vhdx", readonly })).toThrow("shorter than its log tells");
  });

  test("is refused when no entry of its log is whole", async () => {
    const bytes = await dirtyImage(folder.path);
    const { log } = mapOf(bytes);
    for (const at of [log, log + (512 << 10)]) bytes.writeUInt8(bytes.readUInt8(at + 4000) ^ 1, at + 4000);
    const path = folder.file("dirty", bytes);
    for (const readonly of [false, true])
      expect(() => openAnyImage(path, { format: "vhdx", readonly })).toThrow("its log is damaged");
    expect(readFileSync(path).equals(bytes)).toBeTrue();
  });
});

describe("an image is refused by name", () => {
  const both = (bytes: Buffer, table: readonly number[], change: (at: number) => void): void => {
    for (const at of table) change(at);
    fixChecksums(bytes);
  };
  const cases: Readonly<Record<string, readonly [(bytes: Buffer) => void, string]>> = {
    "that is differencing": [
      (bytes) => bytes.writeUInt32LE(2, (mapOf(bytes).items.get(ItemId.FILE_PARAMETERS) ?? 0) + 4),
      "is a differencing VHDX, which is not supported",
    ],
    "of another version": [
      (bytes) => both(bytes, HEADERS, (at) => bytes.writeUInt16LE(2, at + 66)),
      "is VHDX version 2, only 1 is known",
    ],
    "without a whole header": [
      (bytes) => {
        for (const at of HEADERS) bytes.writeUInt8(1, at + 4095);
      },
      "neither of its two headers is whole",
    ],
    "without a whole region table": [
      (bytes) => {
        for (const at of REGION_TABLES) bytes.writeUInt8(1, at + 65535);
      },
      "neither of the two copies of its region table",
    ],
    "with an unknown region that is required": [
      (bytes) =>
        both(bytes, REGION_TABLES, (at) => {
          bytes.writeUInt32LE(3, at + 8);
          bytes.write("unknown region!!", at + 80);
          bytes.writeBigUInt64LE(BigInt(64 * MIB), at + 96);
          bytes.writeUInt32LE(MIB, at + 104);
          bytes.writeUInt32LE(1, at + 108);
        }),
      "needs the region 6e6b6e75-776f-206e-7265-67696f6e2121",
    ],
    "whose regions overlap": [
      (bytes) => both(bytes, REGION_TABLES, (at) => bytes.writeBigUInt64LE(bytes.readBigUInt64LE(at + 32), at + 64)),
      "its regions overlap",
    ],
    "whose block lies on a region": [
      (bytes) => bytes.writeBigUInt64LE(BigInt(mapOf(bytes).metadata) | 6n, mapOf(bytes).bat),
      "where something else is",
    ],
    "of which two blocks are one": [
      (bytes) => bytes.writeBigUInt64LE(bytes.readBigUInt64LE(mapOf(bytes).bat), mapOf(bytes).bat + 8),
      "where something else is",
    ],
    "whose block lies beyond its end": [
      (bytes) => bytes.writeBigUInt64LE(BigInt(1000 * MIB) | 6n, mapOf(bytes).bat),
      "beyond its end",
    ],
    "with blocks of a parent": [(bytes) => bytes.writeUInt8(7, mapOf(bytes).bat + 16), "partly its parent's"],
    "with a block in a reserved state": [(bytes) => bytes.writeUInt8(5, mapOf(bytes).bat + 16), "is in state 5"],
    "with reserved bits": [(bytes) => bytes.writeUInt8(1, mapOf(bytes).bat + 17), "reserved bits"],
    "with unknown metadata that is required": [
      (bytes) => bytes.write("xxxx", mapOf(bytes).metadata + 32),
      "needs the metadata item",
    ],
    "whose table is too short": [
      (bytes) => bytes.writeBigUInt64LE(2n ** 46n, mapOf(bytes).items.get(ItemId.VIRTUAL_DISK_SIZE) ?? 0),
      "its block table has",
    ],
  };
  for (const [name, [change, message]] of Object.entries(cases))
    test(name, () => {
      const path = image("bad");
      qemu("qemu-io", "-f", "vhdx", "-c", "write -q -P 7 0 64k", path);
      const bytes = readFileSync(path);
      change(bytes);
      const changed = folder.file("changed", bytes);
      for (const readonly of [false, true])
        for (const format of [undefined, "vhdx"] as const)
          expect(() => openAnyImage(changed, { format, readonly })).toThrow(message);
      expect(readFileSync(changed).equals(bytes)).toBeTrue();
    });

  test("but one damaged header or region table is not missed", async () => {
    const path = image("half");
    qemu("qemu-io", "-f", "vhdx", "-c", "write -q -P 7 0 64k", path);
    const good = readFileSync(path);
    const older = good.readBigUInt64LE(HEADERS[0] + 8) < good.readBigUInt64LE(HEADERS[1] + 8) ? HEADERS[0] : HEADERS[1];
    for (const at of [older, ...REGION_TABLES]) {
      const bytes = Buffer.from(good);
      bytes.fill(0xff, at, at + 512);
      using driver = await DiskDriver.open(folder.file("half.damaged", bytes), { format: "vhdx", readonly: true });
      expect(driver.read(0, 512)).toEqual(new Uint8Array(512).fill(7));
    }
  });
});
