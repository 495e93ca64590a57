import { afterAll, describe, expect, spyOn, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ImageIoError, PosixImageFile } from "../../../../src/block/image-file.ts";
import { resizeImage } from "../../../../src/block/resize-image.ts";
import { Errno } from "../../../../src/host/errno.ts";
import { libc } from "../../../../src/host/libc.ts";
import { Random } from "../../random.ts";
import type { Fault } from "../faulty-file.ts";
import { TestFolder } from "../files.ts";
import { ModelDisk, SECTOR } from "../model-disk.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";
import { FaultyDisk } from "./faulty-disk.ts";

const folder = new TestFolder("memory");
afterAll(() => folder.remove());

const MIB = 1 << 20;
/** Bits of L1 and L2 entries. */
const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n;
const COPIED = 1n << 63n;
const GIB = 2 ** 30;
const path = join(folder.path, "faults.qcow2");
const raw = join(folder.path, "raw");

const create = (options: string, size: number, ...more: string[]): string =>
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, ...more, path, String(size));

/** `qemu-img check` finds nothing, or clusters that are lost and nothing else. */
function expectNoDamage(): void {
  const { exitCode, stdout } = Bun.spawnSync(["qemu-img", "check", "-f", "qcow2", path]);
  expect([exitCode, exitCode === 0 || exitCode === 3 ? "" : `${stdout}`]).toEqual([exitCode, ""]);
}

describe("without space for one write", () => {
  test("of the refcount table that grows, all goes on as if it had not been tried", async () => {
    create("cluster_size=512", 32 * MIB);
    const values: number[] = [];
    {
      using disk = new FaultyDisk(path);
      let failures = 0;
      disk.file.fault = (operation, _offset, length) =>
        operation === "write" && length === 3 * 512 && failures++ === 0 ? Errno.ENOSPC : 0;
      for (let at = 0; failures === 0 || at % (4 * MIB) !== 0; at += 65536) {
        const value = 1 + ((at / 65536) % 200);
        if (disk.fill(at, 65536, value) !== 0) expect(disk.fill(at, 65536, value)).toBe(0);
        values.push(value);
      }
      expect(failures).toBeGreaterThan(0);
      expect(disk.flush()).toBe(0);
    }
    expectNoDamage();
    const contents = await contentsOf(path, raw);
    expect(values.map((_, i) => contents[i * 65536] ?? 0)).toEqual(values);
  });

  test("of a new L2 table, none of its clusters is lost", () => {
    create("cluster_size=65536", 64 * GIB);
    {
      using disk = new FaultyDisk(path);
      expect(disk.fill(0, 512, 1)).toBe(0);
      disk.file.fault = (operation, _offset, length) => (operation === "write" && length === 65536 ? Errno.ENOSPC : 0);
      for (let i = 0; i < 50; i++) expect(disk.fill((3 + (i % 2)) * GIB, 512, 1)).toBe(Errno.ENOSPC);
      disk.file.fault = undefined;
      expect(disk.fill(5 * GIB, 512, 2)).toBe(0);
      expect(disk.flush()).toBe(0);
    }
    checkImage(path);
  });
});

describe("an image that could not be made durable", () => {
  test("by new refcount blocks is given up", () => {
    create("cluster_size=512", 16 * MIB);
    {
      using disk = new FaultyDisk(path);
      disk.file.failOnce(Errno.EIO, (operation) => operation === "sync");
      const errors = Array.from({ length: 32 }, (_, i) => disk.fill(i * 65536, 65536, 1));
      expect(errors).toContain(Errno.EIO);
      expect(disk.isGivenUp).toBeTrue();
      expect([disk.flush(), disk.fill(0, 512, 2)]).toEqual([Errno.EIO, Errno.EIO]);
    }
    expectNoDamage();
  });

  test("by a flush without changes is given up: the kernel tells of a lost write once", () => {
    create("cluster_size=65536", MIB);
    using disk = new FaultyDisk(path);
    expect([disk.fill(0, 512, 1), disk.flush()]).toEqual([0, 0]);
    {
      using _ = spyOn(libc, "fdatasync").mockImplementation(() => libc.close(-1));
      expect([disk.flush(), disk.isGivenUp]).toEqual([Errno.EBADF, true]);
    }
    expect([disk.flush(), disk.fill(0, 512, 2)]).toEqual([Errno.EIO, Errno.EIO]);
  });

  test("is not written to by what is read, nor made larger", () => {
    create("cluster_size=65536", 64 * GIB);
    using disk = new FaultyDisk(path);
    // Tables whose slices share a set of the cache, and fill it.
    for (let i = 0; i < 60; i++) expect(disk.fill(i * 2 ** 29, 65536, 1 + i)).toBe(0);
    disk.file.failOnce(Errno.EIO, (operation) => operation === "sync");
    expect([disk.flush(), disk.isGivenUp]).toEqual([Errno.EIO, true]);
    const before = readFileSync(path);
    for (let i = 0; i < 60; i++) disk.read(i * 2 ** 29 + 2 ** 25, 512);
    expect(() => resizeImage(disk.image, 128 * GIB, true)).toThrow("cannot be made a disk");
    expect(readFileSync(path).equals(before)).toBeTrue();
  });

  test("by its new size is not written to any more", () => {
    create("cluster_size=4096", 8 * MIB);
    {
      using disk = new FaultyDisk(path);
      expect([disk.fill(0, 512, 1), disk.flush()]).toEqual([0, 0]);
      const { sync } = PosixImageFile.prototype;
      let syncs = 0;
      using _ = spyOn(PosixImageFile.prototype, "sync").mockImplementation(function (this: PosixImageFile) {
        // The two of the write-back come first, that of the header last.
        if (++syncs === 3) throw new ImageIoError("sync", Errno.EIO);
        sync.call(this);
      });
      expect(() => resizeImage(disk.image, 1800 * MIB, true)).toThrow();
      expect(disk.isGivenUp).toBeTrue();
      expect([disk.fill(6 * MIB, 65536, 3), disk.flush()]).toEqual([Errno.EIO, Errno.EIO]);
    }
    expectNoDamage();
    expect(qemu("qemu-io", "-f", "qcow2", "-r", "-c", "read -P 1 0 512", path)).not.toContain("failed");
  });
});

test("a corrupt backing file fails what is read from it, and not the image above it", () => {
  const below = join(folder.path, "below.qcow2");
  qemu("qemu-img", "create", "-q", "-f", "qcow2", below, "1M");
  qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 1M", below);
  const bytes = readFileSync(below);
  const l2 = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(40))) & OFFSET_MASK);
  bytes.writeBigUInt64BE(COPIED | 0x1000_0000n, l2 + 8);
  writeFileSync(below, bytes);
  create("cluster_size=65536", MIB, "-b", below, "-F", "qcow2");
  {
    using disk = new FaultyDisk(path);
    expect([disk.read(65536, 512), disk.isGivenUp]).toEqual([Errno.EIO, false]);
    expect([disk.fill(512 * 1024, 65536, 3), disk.flush(), disk.read(0, 512)]).toEqual([0, 0, 0]);
  }
  checkImage(path);
  expect(readFileSync(below).equals(bytes)).toBeTrue();
});

test("clusters in a row of which the last are beyond the file's end are not written to", () => {
  create("cluster_size=4096", MIB);
  qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 64k", path);
  const bytes = readFileSync(path);
  const end = bytes.length - 32768;
  const refcounts = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
  for (let cluster = end / 4096; cluster < bytes.length / 4096; cluster++)
    bytes.writeUInt16BE(0, refcounts + 2 * cluster);
  writeFileSync(path, bytes.subarray(0, end));
  using disk = new FaultyDisk(path);
  expect([disk.fill(0, 65536, 2), disk.isGivenUp]).toEqual([Errno.EIO, true]);
  expect(disk.fill(512 * 1024, 4096, 3)).toBe(Errno.EIO);
});

test("a compressed cluster is unpacked once for all segments that it is read into", () => {
  const data = folder.file("packed.raw", Buffer.alloc(2 * MIB, 7));
  qemu("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "cluster_size=2M", data, path);
  using disk = new FaultyDisk(path);
  expect(disk.read(0, 65536, 64)).toBe(0);
  expect(disk.contents(65536).every((byte) => byte === 7)).toBeTrue();
  // Its L2 entry, and the cluster.
  expect(disk.file.counts.read).toBe(2);
  expect(disk.read(65536, 512)).toBe(0);
  expect(disk.file.counts.read).toBe(3);
});

test("zeroes that keep their place keep it when they are written once more", () => {
  create("cluster_size=65536", MIB);
  {
    using disk = new FaultyDisk(path);
    expect(disk.fill(0, 65536, 1)).toBe(0);
    for (let i = 0; i < 2; i++) expect([disk.zero(0, 65536, false), disk.flush(), disk.flush()]).toEqual([0, 0, 0]);
  }
  const [first] = JSON.parse(qemu("qemu-img", "map", "--output=json", "-f", "qcow2", path));
  expect(first).toMatchObject({ start: 0, zero: true, offset: expect.any(Number) });
});

/** Lets writes fail now and then, several in a row at times. */
function nowAndThen(random: Random): Fault {
  let untilNext = random.below(40);
  let inARow = 0;
  return (operation) => {
    if (operation === "read" || operation === "sync") return 0;
    if (inARow > 0) {
      inARow--;
      return Errno.ENOSPC;
    }
    if (untilNext-- > 0) return 0;
    untilNext = random.below(60);
    inARow = random.below(3) === 0 ? random.below(4) : 0;
    return Errno.ENOSPC;
  };
}

const { CH_QCOW2_FAULTS } = process.env;

test.each(Array.from({ length: Number(CH_QCOW2_FAULTS ?? 24) }, (_, i) => i + 1))(
  "on a host without space now and then, what succeeded is there and nothing is damaged, seed %p",
  async (seed) => {
    const random = new Random(seed);
    const size = 4 * MIB;
    const model = new ModelDisk(random, size);
    const isExtended = random.below(4) === 0;
    const hasDataFile = random.below(4) === 0;
    const options = [
      `cluster_size=${isExtended ? random.pick([16384, 65536]) : random.pick([512, 512, 4096, 65536])}`,
      `refcount_bits=${random.pick([8, 16, 64])}`,
      ...(isExtended ? ["extended_l2=on"] : []),
      ...(hasDataFile ? [`data_file=${folder.file("data", "")}`] : []),
    ];
    const hasBacking = random.below(2) === 0;
    if (hasBacking) model.bytes = model.data(size);
    const below = folder.file("below", Buffer.from(model.bytes));
    create(options.join(","), size, ...(hasBacking ? ["-b", below, "-F", "raw"] : []));
    if (!hasDataFile && random.below(3) === 0) {
      qemu("qemu-io", "-f", "qcow2", "-c", `write -q -P 77 0 ${size / 2}`, path);
      qemu("qemu-img", "snapshot", "-c", "one", path);
      model.bytes.fill(77, 0, size / 2);
    }
    /** By sector: a request that failed, or a discard, may have left anything of what was there. */
    const isKnown = new Uint8Array(size / SECTOR).fill(1);
    let failures = 0;
    const note = (offset: number, length: number, errno: number): void => {
      if (errno !== 0) failures++;
      isKnown.fill(errno === 0 ? 1 : 0, offset / SECTOR, (offset + length) / SECTOR);
    };
    const compare = (offset: number, actual: Uint8Array): void => {
      for (let at = 0; at < actual.length; at += SECTOR)
        if (isKnown[(offset + at) / SECTOR] === 1)
          expect([at, ...actual.subarray(at, at + 8)]).toEqual([
            at,
            ...model.bytes.subarray(offset + at, offset + at + 8),
          ]);
    };
    {
      using disk = new FaultyDisk(path);
      const fault = nowAndThen(random);
      disk.file.fault = fault;
      disk.data.fault = fault;
      for (let i = 0; i < 150; i++) {
        const [offset, length] = model.range(65536);
        switch (random.below(10)) {
          case 0:
          case 1: {
            const mayUnmap = random.below(2) === 0;
            note(offset, length, disk.zero(offset, length, mayUnmap));
            model.bytes.fill(0, offset, offset + length);
            break;
          }
          case 2:
            disk.discard(offset, length);
            isKnown.fill(0, offset / SECTOR, (offset + length) / SECTOR);
            break;
          case 3:
            disk.flush();
            break;
          case 4:
            // To find room in its cache a read may have to write.
            if (disk.read(offset, length) === 0) compare(offset, disk.contents(length));
            break;
          default: {
            const data = model.data(length);
            note(offset, length, disk.write(offset, data));
            model.bytes.set(data, offset);
          }
        }
      }
      disk.file.fault = undefined;
      disk.data.fault = undefined;
      // Given up it is when nobody knows which table its header refers to.
      expect(disk.flush()).toBe(disk.isGivenUp ? Errno.EIO : 0);
      if (disk.isGivenUp) isKnown.fill(0);
    }
    expect(failures).toBeGreaterThan(0);
    expectNoDamage();
    compare(0, await contentsOf(path, raw));
  },
);
