import { afterAll, describe, expect, spyOn, test } from "bun:test";
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DirectImageFile } from "../../../src/block/direct-image-file.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous, munmap } from "../../../src/host/mmap.ts";
import { Random } from "../random.ts";
import { DiskDriver } from "./disk-driver.ts";
import { noDirectIo, TestFolder } from "./files.ts";
import { qemu } from "./qemu.ts";

const SECTOR = 512;
const PAGE = 4096;
const MIB = 1 << 20;

const folder = new TestFolder();
afterAll(() => folder.remove());

describe.skipIf(noDirectIo(folder) !== undefined)("direct I/O", () => {
  test("a file system that gives less than was asked for is asked again", () => {
    const path = folder.file("short.raw", Buffer.alloc(MIB, 7));
    const fds = [constants.O_DIRECT, 0].map((flag) => openSync(path, constants.O_RDWR | flag));
    const [fd = -1, cachedFd = -1] = fds;
    const memory = mapAnonymous(65536);
    const file = new DirectImageFile(fd, cachedFd, PAGE);
    {
      const { pread } = libc;
      using _ = spyOn(libc, "pread").mockImplementation((from, address, length, offset) =>
        pread(from, address, Math.min(length, PAGE), offset),
      );
      file.read(512, memory.address, 60_000);
      expect(memory.u8.subarray(0, 60_000).every((byte) => byte === 7)).toBeTrue();
      file.write(3 * PAGE + 512, memory.address, 5000);
    }
    expect(readFileSync(path).every((byte) => byte === 7)).toBeTrue();
    for (const open of fds) closeSync(open);
    munmap(memory.address, memory.size);
  });

  test.each([512, 4096])("at any place of a file, where the device takes multiples of %d bytes", (alignment) => {
    const random = new Random(alignment);
    const model = new Uint8Array(2 * MIB);
    random.fill(model.subarray(0, MIB + 700));
    const path = folder.file("any.raw", model.subarray(0, MIB + 700));
    const fds = [constants.O_DIRECT, 0].map((flag) => openSync(path, constants.O_RDWR | flag));
    const [fd = -1, cachedFd = -1] = fds;
    const memory = mapAnonymous(MIB);
    const vectors = mapAnonymous(4096);
    const file = new DirectImageFile(fd, cachedFd, alignment);
    for (let i = 0; i < 300; i++) {
      const unit = random.below(3) === 0 ? 1 : alignment;
      const offset = unit * random.below(MIB / unit);
      const length = unit * (1 + random.below((random.below(2) === 0 ? 16384 : MIB / 2) / unit));
      const at = random.below(64);
      const bytes = memory.u8.subarray(at, at + length);
      if (i % 3 === 0) {
        file.read(offset, memory.address + at, length);
        expect(Buffer.compare(bytes, model.subarray(offset, offset + length))).toBe(0);
        continue;
      }
      bytes.fill(i);
      bytes[0] = offset;
      model.set(bytes, offset);
      if (i % 3 === 1) file.write(offset, memory.address + at, length);
      else {
        const cut = random.below(length + 1);
        setIovec(vectors.u32, 0, memory.address + at, cut);
        setIovec(vectors.u32, 1, memory.address + at + cut, length - cut);
        file.writev(offset, vectors, 2, length);
      }
    }
    file.sync();
    const contents = readFileSync(path);
    expect(Buffer.compare(contents, model.subarray(0, contents.length))).toBe(0);
    for (const open of fds) closeSync(open);
    for (const { address, size } of [memory, vectors]) munmap(address, size);
  });

  test.each([
    ["qcow2", "cluster_size=512", 512],
    ["qcow2", "cluster_size=65536", 65536],
    ["vhdx", "block_size=1M", MIB],
  ] as const)(
    "%s, %s: writes of the engine, and new clusters beside them at the same time: no error, nothing lost",
    async (format, options, clusterBytes) => {
      const count = clusterBytes === MIB ? 64 : 256;
      // Far enough apart that each pair has a page of its own.
      const stride = Math.max(2 * clusterBytes, 2 * PAGE);
      const path = join(folder.path, `beside.${options}`);
      qemu("qemu-img", "create", "-q", "-f", format, "-o", options, path, String(count * stride));
      using driver = await DiskDriver.open(path, { format, direct: true });
      const { disk } = driver;
      const memory = mapAnonymous(3 * PAGE);
      const start = (tag: number, offset: number, value: number, length: number): void => {
        memory.u8.fill(value, tag * PAGE, tag * PAGE + length);
        setIovec(disk.segments(tag), 0, memory.address + tag * PAGE, length);
        disk.write(tag, offset, length, 1);
      };
      const finish = (): void => {
        while (disk.underWay > 0) {
          if (!disk.next()) disk.wait(true);
          else if (disk.error !== 0) throw new Error(`request ${disk.tag}: errno ${disk.error}`);
        }
      };
      const flush = (): void => {
        disk.flush(0);
        finish();
      };
      const old = Math.min(clusterBytes, PAGE);
      const end = (i: number): number => i * stride + clusterBytes;
      const allocate = (i: number): void => {
        start(0, end(i) - old, 1, old);
        finish();
      };
      // Small clusters meet their new neighbour in the file, large ones part of their own request in the cluster.
      const meetsInFile = clusterBytes < PAGE;
      if (!meetsInFile) for (let i = 0; i < count; i++) allocate(i);
      flush();
      for (let i = 0; i < count; i++) {
        if (meetsInFile) allocate(i);
        // In place: it has started when `wait` comes back. The other one ends in a cluster that is not there yet.
        start(0, end(i) - old, 2, SECTOR);
        disk.wait(false);
        start(1, old === SECTOR ? end(i) : end(i) - SECTOR, 3, 2 * SECTOR);
        finish();
      }
      flush();
      for (let i = 0; i < count; i++) {
        const bytes = driver.read(end(i) - old, old + SECTOR);
        expect([bytes[0], bytes[old], i]).toEqual([2, 3, i]);
      }
      munmap(memory.address, memory.size);
    },
    60_000,
  );
});
