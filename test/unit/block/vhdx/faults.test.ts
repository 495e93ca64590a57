import { afterAll, expect, spyOn, test } from "bun:test";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { openDisk } from "../../../../src/block/open-disk.ts";
import { SyncEngine } from "../../../../src/block/sync-engine.ts";
import { type VhdxImage, viewOf } from "../../../../src/block/vhdx/image.ts";
import { VhdxDisk } from "../../../../src/block/vhdx/vhdx-disk.ts";
import { Errno } from "../../../../src/host/errno.ts";
import { setIovec } from "../../../../src/host/iovec.ts";
import { libc } from "../../../../src/host/libc.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { DiskDriver } from "../disk-driver.ts";
import { FaultyFile } from "../faulty-file.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { checkImage } from "../qemu.ts";
import { MIB, makeImage } from "./corpus.ts";

const folder = new TestFolder("memory");
afterAll(() => folder.remove());

const synchronous = (tags: number): SyncEngine => new SyncEngine(tags);

/** An image on a file that can be made to fail. */
function faulty(name: string, resources: DisposableStack, size = "4M", alignment = 1) {
  const path = makeImage(join(folder.path, name), size, "subformat=dynamic");
  const opened = openAnyImage(path, { format: "vhdx" });
  resources.defer(() => opened.close());
  const image = { ...(opened.image as VhdxImage), alignment };
  const file = new FaultyFile(image.cachedFd);
  const { fd, cachedFd } = image;
  const raw = openDisk({ fd, cachedFd, alignment: 1, isDevice: false, endsInZeroes: true }, synchronous, 2, 2);
  const disk = new VhdxDisk(image, viewOf(image, file), file, raw);
  resources.defer(() => disk.close());
  const memory = mapAnonymous(MIB);
  const finish = (): number => {
    while (!disk.next()) disk.wait(true);
    return disk.error;
  };
  return {
    path,
    file,
    write: (offset: number, length: number, value: number): number => {
      memory.u8.fill(value, 0, length);
      setIovec(disk.segments(0), 0, memory.address, length);
      disk.write(0, offset, length, 1);
      return finish();
    },
    read: (offset: number, length: number): Uint8Array => {
      setIovec(disk.segments(0), 0, memory.address, length);
      disk.read(0, offset, length, 1);
      expect(finish()).toBe(0);
      return memory.u8.slice(0, length);
    },
    readError: (offset: number): number => {
      setIovec(disk.segments(0), 0, memory.address, 512);
      disk.read(0, offset, 512, 1);
      return finish();
    },
    flush: (): number => {
      disk.flush(0);
      return finish();
    },
  };
}

test("a new block whose data found no space leaves nothing in the next one, and is tried again", async () => {
  using resources = new DisposableStack();
  const { path, file, write, read, flush } = faulty("space", resources);
  expect(write(0, 512, 1)).toBe(0);
  file.fail(Errno.ENOSPC, "writev");
  expect(write(MIB, 4096, 2)).toBe(Errno.ENOSPC);
  file.fault = undefined;
  expect(read(MIB, 4096)).toEqual(new Uint8Array(4096));
  expect(write(2 * MIB + 512, 512, 3)).toBe(0);
  expect(read(2 * MIB, 4096).filter((byte) => byte !== 0)).toEqual(new Uint8Array(512).fill(3));
  expect(write(MIB, 4096, 4)).toBe(0);
  expect(flush()).toBe(0);
  resources.dispose();
  checkImage(path, "vhdx");
  using driver = await DiskDriver.open(path, { format: "vhdx", readonly: true });
  expect(driver.read(MIB, 4096)).toEqual(new Uint8Array(4096).fill(4));
  expect(driver.read(2 * MIB, 512)).toEqual(new Uint8Array(512));
});

test("a log without space fails a flush, and the next one succeeds", async () => {
  using resources = new DisposableStack();
  const { path, file, write, flush } = faulty("log", resources);
  expect(write(0, 512, 1)).toBe(0);
  file.fail(Errno.ENOSPC, "write");
  expect(flush()).toBe(Errno.ENOSPC);
  file.fault = undefined;
  expect(write(MIB, 512, 2)).toBe(0);
  expect(flush()).toBe(0);
  resources.dispose();
  using driver = await DiskDriver.open(path, { format: "vhdx" });
  expect(driver.read(0, 512)).toEqual(new Uint8Array(512).fill(1));
  expect(driver.read(MIB, 512)).toEqual(new Uint8Array(512).fill(2));
});

test("an image that could not be made durable is not written to any more, but still read", async () => {
  using resources = new DisposableStack();
  const { path, file, write, read, flush } = faulty("sync", resources);
  expect(write(0, 512, 1)).toBe(0);
  expect(flush()).toBe(0);
  expect(write(MIB, 512, 2)).toBe(0);
  file.fail(Errno.EIO, "sync");
  expect(flush()).toBe(Errno.EIO);
  file.fault = undefined;
  const before = readFileSync(path);
  expect([flush(), write(0, 512, 3), write(2 * MIB, 512, 3)]).toEqual([Errno.EIO, Errno.EIO, Errno.EIO]);
  expect(read(0, 512)).toEqual(new Uint8Array(512).fill(1));
  resources.dispose();
  expect(readFileSync(path).equals(before)).toBeTrue();
  using driver = await DiskDriver.open(path, { format: "vhdx" });
  expect(driver.read(0, 512)).toEqual(new Uint8Array(512).fill(1));
  expect(driver.read(MIB, 512)).toEqual(new Uint8Array(512));
});

test("nor is its block table, when memory for it runs out", () => {
  using resources = new DisposableStack();
  // Of the table, 8 MiB are in memory: 2048 sectors for 512 MiB of disk each.
  const { path, file, write, flush, readError } = faulty("table", resources, "2T");
  const stride = 512 * MIB;
  for (let i = 0; i < 2048; i++) expect(write(i * stride, 512, 1)).toBe(0);
  file.fail(Errno.EIO, "sync");
  expect(flush()).toBe(Errno.EIO);
  file.fault = undefined;
  const before = metadataOf(path);
  expect(readError(0)).toBe(0);
  expect(readError(2048 * stride)).toBe(Errno.EIO);
  resources.dispose();
  expect(metadataOf(path).equals(before)).toBeTrue();
});

test("nor when a flush without changes failed: the kernel tells of a lost write once", () => {
  using resources = new DisposableStack();
  const { write, flush } = faulty("clean", resources);
  expect([write(0, 512, 1), flush(), flush()]).toEqual([0, 0, 0]);
  {
    using _ = spyOn(libc, "fdatasync").mockImplementation(() => libc.close(-1));
    expect(flush()).toBe(Errno.EBADF);
  }
  expect([flush(), write(0, 512, 3)]).toEqual([Errno.EIO, Errno.EIO]);
});

test("parts of a write that direct I/O cannot take go where those of other queues go: through the page cache", () => {
  using resources = new DisposableStack();
  // Blocks in reverse order in the file, so that a write across their border is in two parts.
  const { path, file, write, read } = faulty("border", resources, "4M", 4096);
  expect([write(MIB, MIB, 1), write(0, MIB, 2)]).toEqual([0, 0]);
  const before = file.counts.writev;
  expect(write(MIB - 512, 1024, 3)).toBe(0);
  expect(file.counts.writev).toBe(before);
  expect(write(MIB - 4096, 8192, 4)).toBe(0);
  expect(file.counts.writev).toBe(before + 2);
  expect(read(MIB - 4096, 8192)).toEqual(new Uint8Array(8192).fill(4));
  resources.dispose();
  checkImage(path, "vhdx");
});

/** All that comes before the blocks of an image of 2 TiB. */
function metadataOf(path: string): Buffer {
  const bytes = Buffer.alloc(20 * MIB);
  const fd = openSync(path, "r");
  readSync(fd, bytes, 0, bytes.length, 0);
  closeSync(fd);
  return bytes;
}
