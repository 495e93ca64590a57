import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DiskImageOptions } from "../../../../src/block/disk-image.ts";
import { DiskImageError } from "../../../../src/block/image-error.ts";
import { resizeImage } from "../../../../src/block/resize-image.ts";
import { DiskDriver } from "../disk-driver.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { checkImage, qemu } from "../qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const CLUSTER = 65536;
const SIZE = 8 * CLUSTER;
const EXTENSION = 0x4441_5441;
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

let made = 0;
/** A new image with its data file beside it, which it names without a folder. */
function create(options = "", ...below: readonly string[]): { readonly path: string; readonly data: string } {
  const path = join(folder.path, `${made++}.qcow2`);
  const data = `${path}.data`;
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", `data_file=${data}${options}`, ...below, path, String(SIZE));
  return { path, data };
}

describe.each(["io_uring", "synchronous"] as const)("data in another file, by %s", (engine) => {
  const open = (path: string): Promise<DiskDriver> => DiskDriver.open(path, { backingFiles: true }, SIZE, engine);

  test("each cluster has the place there that it has on the disk, and what was there before does not show", async () => {
    const below = folder.file("below.raw", filled(SIZE, 5));
    const { path, data } = create("", "-b", below, "-F", "raw");
    writeFileSync(data, filled(SIZE, 9));
    {
      using disk = await open(path);
      disk.write(0, filled(512, 1));
      disk.write(3 * CLUSTER + 512, filled(2 * CLUSTER, 2));
      disk.discard(6 * CLUSTER, CLUSTER);
      disk.flush();
    }
    checkImage(path);
    const expected = filled(SIZE, 5);
    expected.fill(1, 0, 512);
    expected.fill(2, 3 * CLUSTER + 512, 5 * CLUSTER + 512);
    expected.fill(0, 6 * CLUSTER, 7 * CLUSTER);
    using disk = await open(path);
    expect(Buffer.compare(disk.read(0, SIZE), expected)).toBe(0);
    const bytes = readFileSync(data);
    for (const [cluster, count] of [
      [0, 1],
      [3, 3],
    ] as const) {
      const [from, to] = [cluster * CLUSTER, (cluster + count) * CLUSTER];
      expect(Buffer.compare(bytes.subarray(from, to), expected.subarray(from, to))).toBe(0);
    }
    expect(new Set(bytes.subarray(CLUSTER, 3 * CLUSTER))).toEqual(new Set([9]));
  });

  test("a raw data file is a raw image of the disk, when that has grown as well", async () => {
    const { path, data } = create(",data_file_raw=on");
    {
      using disk = await open(path);
      disk.write(CLUSTER - 512, filled(2 * CLUSTER, 1));
      disk.zero(CLUSTER, 1024, true);
      disk.discard(2 * CLUSTER, CLUSTER);
      writeFileSync(data, filled(CLUSTER, 9), { flag: "a" });
      resizeImage(disk.image.image, SIZE + CLUSTER, true);
      disk.write(SIZE, filled(512, 3));
      disk.flush();
    }
    checkImage(path);
    const expected = new Uint8Array(SIZE + CLUSTER);
    expected.fill(1, CLUSTER - 512, 2 * CLUSTER);
    expected.fill(0, CLUSTER, CLUSTER + 1024);
    expected.fill(3, SIZE, SIZE + 512);
    expect(Buffer.compare(readFileSync(data), expected)).toBe(0);
    // The bit that says so is still there.
    expect(readFileSync(path).readBigUInt64BE(88)).toBe(2n);
    expect(qemu("qemu-img", "info", "-f", "qcow2", path)).toContain("data file raw: true");
  });
});

describe("what an image may name as its data file", () => {
  const problem = (path: string, options: Partial<DiskImageOptions> = {}): string => {
    try {
      openAnyImage(path, { format: "qcow2", backingFiles: true, ...options }).close();
      return "";
    } catch (error) {
      if (!(error instanceof DiskImageError)) throw error;
      return error.message;
    }
  };

  /** An image that names something else: its header's first extension, which is made long enough for that. */
  function naming(name: string | Uint8Array, copy = `named-${made++}.qcow2`): string {
    const { path } = create();
    const bytes = readFileSync(path);
    const at = bytes.readUInt32BE(100);
    expect(bytes.readUInt32BE(at)).toBe(EXTENSION);
    const text = Buffer.from(name);
    bytes.fill(0, at, CLUSTER);
    bytes.writeUInt32BE(EXTENSION, at);
    bytes.writeUInt32BE(text.length, at + 4);
    text.copy(bytes, at + 8);
    return folder.file(copy, bytes);
  }

  test("nothing without leave", () => {
    const { path } = create();
    expect(problem(path, { backingFiles: false })).toContain("allow it with backing_files=on");
    expect(problem(path)).toBe("");
  });

  test("a name by the folder of the image", async () => {
    folder.file("beside.data", filled(SIZE, 7));
    const path = naming("beside.data");
    {
      using disk = await DiskDriver.open(path, { backingFiles: true });
      disk.write(0, filled(CLUSTER, 1));
    }
    // QEMU takes it from its working directory.
    const { exitCode } = Bun.spawnSync(["qemu-img", "check", "-f", "qcow2", path], { cwd: folder.path });
    expect(exitCode).toBe(0);
    expect(readFileSync(join(folder.path, "beside.data"))[0]).toBe(1);
    expect(problem(naming("file:beside.data"))).toBe("");
  });

  test("no name, one that is too long, one that cannot be", () => {
    expect(problem(naming(""))).toContain("does not say in which");
    expect(problem(naming("a".repeat(4096)))).toContain("a name of 4096 bytes that cannot be a file's");
    expect(problem(naming("a".repeat(4095)))).toContain("cannot be opened");
    expect(problem(naming(Buffer.from("a\0b")))).toContain("a name of 3 bytes that cannot be a file's");
    expect(problem(naming('json:{"driver":"file"}'))).toContain("no file name");
    expect(problem(naming("nowhere"))).toContain("there is no such file");
    const path = naming("beside.data");
    const bytes = readFileSync(path);
    bytes.writeUInt32BE(0x7fff_ffff, bytes.readUInt32BE(100) + 4);
    writeFileSync(path, bytes);
    expect(problem(path)).toContain("has a header extension of 2147483647 bytes, which does not fit");
  });

  test("not the image itself, nor what is below it", () => {
    expect(problem(naming("self.qcow2", "self.qcow2"))).toContain("is part of the same disk otherwise");
    const link = naming("link", "linked.qcow2");
    symlinkSync("linked.qcow2", join(folder.path, "link"));
    expect(problem(link)).toContain("is part of the same disk otherwise");
    const below = folder.file("shared.raw", filled(SIZE, 5));
    const { path, data } = create("", "-b", below, "-F", "raw");
    expect(problem(path)).toBe("");
    qemu("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", data, "-F", "raw", path);
    expect(problem(path)).toContain("is below itself");
  });

  test("no folder, FIFO or character device", () => {
    expect(problem(naming("."))).toContain("is a directory");
    expect(problem(naming("/dev/zero"))).toContain("is a character device");
    Bun.spawnSync(["mkfifo", join(folder.path, "fifo")]);
    expect(problem(naming("fifo"))).toContain("is a FIFO");
  });

  test("not one that another disk writes to", () => {
    const { path } = create();
    const copy = join(folder.path, "copy.qcow2");
    copyFileSync(path, copy);
    const opened = openAnyImage(path, { format: "qcow2", backingFiles: true });
    try {
      expect(problem(copy)).toContain("is in use by another process");
      expect(problem(copy, { readonly: true })).toContain("is being written by another process");
    } finally {
      opened.close();
    }
    expect(problem(copy, { readonly: true })).toBe("");
  });

  test("not beside snapshots, nor raw with a backing file", () => {
    const { path } = create();
    const bytes = readFileSync(path);
    bytes.writeUInt32BE(1, 60);
    expect(problem(folder.file("snapshots.qcow2", bytes))).toContain("has snapshots");
    const overlay = create("", "-b", folder.file("below.raw", filled(SIZE, 5)), "-F", "raw").path;
    const raw = readFileSync(overlay);
    raw.writeBigUInt64BE(2n, 88);
    expect(problem(folder.file("raw.qcow2", raw))).toContain("has a backing file");
  });

  test("features that nobody knows here are taken back, and only those", () => {
    const { path } = create(",data_file_raw=on");
    const bytes = readFileSync(path);
    bytes.writeBigUInt64BE(7n, 88);
    writeFileSync(path, bytes);
    expect(problem(path, { readonly: true })).toBe("");
    expect(readFileSync(path).readBigUInt64BE(88)).toBe(7n);
    expect(problem(path)).toBe("");
    expect(readFileSync(path).readBigUInt64BE(88)).toBe(2n);
  });

  test("entries that are elsewhere in the data file, or compressed, are corrupt", async () => {
    const { path } = create();
    qemu("qemu-io", "-f", "qcow2", "-c", `write -q -P 1 0 ${2 * CLUSTER}`, path);
    const source = readFileSync(path);
    const pointer = (at: number): number => Number(source.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
    const second = pointer(pointer(40)) + 8;
    expect(source.readBigUInt64BE(second)).toBe((1n << 63n) | BigInt(CLUSTER));
    for (const entry of [(1n << 63n) | BigInt(3 * CLUSTER), 1n << 63n, (1n << 62n) | BigInt(CLUSTER)]) {
      const bytes = Buffer.from(source);
      bytes.writeBigUInt64BE(entry, second);
      writeFileSync(path, bytes);
      using disk = await DiskDriver.open(path, { backingFiles: true });
      expect(() => disk.read(CLUSTER, 512)).toThrow("errno 5");
      expect(() => disk.write(0, filled(512, 1))).toThrow("errno 5");
    }
  });
});
