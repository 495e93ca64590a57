import { afterAll, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { imageInfo } from "../../../../src/block/image-info.ts";
import { hasBytes } from "../../../../src/block/sparse-file.ts";
import { type Conversion, convertImage } from "../../../../src/cli/disk/convert.ts";
import { DiskDriver } from "../../block/disk-driver.ts";
import { TestFolder } from "../../block/files.ts";
import { checkImage, qemu } from "../../block/qemu.ts";
import { Random } from "../../random.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());

/** Data of several chunks, a hole of more than one, and an end inside a unit. */
const SIZE = (12 << 20) + 1536;
const contents = new Uint8Array(SIZE);
const random = new Random(5);
for (let at = 0; at < SIZE; at += 512) if (at < 3 << 20 || at > 8 << 20) contents[at] = 1 + random.below(255);
const raw = folder.file("contents.raw", contents);

/** A folder for the outcome of one conversion. */
function emptyFolder(name: string): string {
  const path = join(folder.path, name);
  mkdirSync(path);
  return path;
}

const convert = (source: string, target: string, options: Partial<Conversion> = {}): Promise<void> =>
  convertImage({
    source,
    target,
    to: "raw",
    backingFiles: false,
    verify: true,
    warn: () => undefined,
    signal: new AbortController().signal,
    progress: () => undefined,
    ...options,
  });

const SOURCES: Readonly<Record<string, readonly string[]>> = {
  raw: ["-O", "raw"],
  qcow2: ["-O", "qcow2"],
  compressed: ["-c", "-O", "qcow2"],
  subclusters: ["-O", "qcow2", "-o", "extended_l2=on"],
  vhdx: ["-O", "vhdx", "-o", "subformat=dynamic,block_size=1M"],
  "fixed-vhdx": ["-O", "vhdx", "-o", "subformat=fixed,block_size=1M"],
  vhd: ["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
};

for (const [name, options] of Object.entries(SOURCES))
  test(`${name} becomes a raw image of the same content, with holes`, async () => {
    const source = join(folder.path, `source.${name}`);
    qemu("qemu-img", "convert", "-q", "-f", "raw", ...options, raw, source);
    const before = readFileSync(source);
    const into = emptyFolder(`from-${name}`);
    const told = { convert: 0, verify: 0 };
    await convert(source, join(into, "new"), {
      progress: (what, done, all) => {
        expect(all).toBe(SIZE);
        told[what] = done;
      },
    });
    expect(readdirSync(into)).toEqual(["new"]);
    expect(readFileSync(join(into, "new")).equals(contents)).toBeTrue();
    expect(statSync(join(into, "new")).blocks * 512).toBeLessThan(SIZE - (4 << 20));
    expect(told).toEqual({ convert: SIZE, verify: SIZE });
    expect(readFileSync(source).equals(before)).toBeTrue();
  });

for (const clusterBytes of [512, 4096, 65536, 2 << 20])
  test(`a qcow2 image of clusters of ${clusterBytes} bytes has the same content, and nothing is wrong with it`, async () => {
    const into = emptyFolder(`qcow2-${clusterBytes}`);
    const target = join(into, "new");
    await convert(raw, target, { to: "qcow2", clusterBytes });
    expect(readdirSync(into)).toEqual(["new"]);
    checkImage(target);
    qemu("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, target);
    expect(statSync(target).size).toBeLessThan(SIZE - (3 << 20) + 6 * clusterBytes);
    expect(imageInfo(target).qcow2?.clusterBits).toBe(Math.log2(clusterBytes));
  });

test("what an image is based on is read only where that is allowed", async () => {
  const source = join(folder.path, "overlay.qcow2");
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", source);
  const into = emptyFolder("overlay");
  const target = join(into, "new");
  await expect(convert(source, target)).rejects.toThrow("needs the backing file");
  expect(readdirSync(into)).toEqual([]);
  await convert(source, target, { backingFiles: true });
  expect(readFileSync(target).equals(contents)).toBeTrue();
});

test("data in another file is read only where that is allowed", async () => {
  const source = join(folder.path, "outside.qcow2");
  qemu("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "-o", `data_file=${source}.data`, raw, source);
  const into = emptyFolder("from-outside");
  await expect(convert(source, join(into, "new"))).rejects.toThrow("backing_files=on");
  await convert(source, join(into, "new"), { backingFiles: true });
  expect(Buffer.compare(readFileSync(join(into, "new")), readFileSync(raw))).toBe(0);
  expect(imageInfo(source).qcow2?.dataFile).toEqual({ name: `${source}.data`, isRaw: false });
});

test("a file that is there is left as it is", async () => {
  const into = emptyFolder("there");
  writeFileSync(join(into, "new"), "precious");
  await expect(convert(raw, join(into, "new"))).rejects.toThrow("choose another name");
  expect(readdirSync(into)).toEqual(["new"]);
  expect(readFileSync(join(into, "new"), "utf8")).toBe("precious");
});

for (const phase of ["convert", "verify"] as const)
  test(`nothing is left of one that is interrupted while it is to ${phase}`, async () => {
    const into = emptyFolder(`interrupted-${phase}`);
    const abort = new AbortController();
    const progress = (what: string): void => {
      if (what === phase) abort.abort(new Error("enough"));
    };
    await expect(convert(raw, join(into, "new"), { signal: abort.signal, progress })).rejects.toThrow("enough");
    expect(readdirSync(into)).toEqual([]);
  });

test("nothing is left where the source cannot be read", async () => {
  const source = join(folder.path, "damaged.qcow2");
  qemu("qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", raw, source);
  const bytes = readFileSync(source);
  // The compressed data follows the first tables.
  writeFileSync(source, bytes.fill(0xff, 5 * 65536));
  const into = emptyFolder("damaged");
  await expect(convert(source, join(into, "new"))).rejects.toThrow("read the disk at");
  expect(readdirSync(into)).toEqual([]);
});

test("an image that a VM writes to is not converted, but described", async () => {
  using _driver = await DiskDriver.open(raw, { format: "raw" });
  const into = emptyFolder("busy");
  await expect(convert(raw, join(into, "new"))).rejects.toThrow("is being written by another process");
  expect(readdirSync(into)).toEqual([]);
  expect(imageInfo(raw)).toMatchObject({ format: "raw", diskBytes: SIZE, qcow2: undefined });
});

test("verification finds one byte that differs, and an end that is missing", () => {
  const bytes = contents.slice(0, 1 << 20);
  const fd = openSync(folder.file("bytes", bytes), "r");
  expect(hasBytes(fd, 0, bytes)).toBeTrue();
  bytes[77777] = (bytes[77777] ?? 0) ^ 1;
  expect(hasBytes(fd, 0, bytes)).toBeFalse();
  expect(hasBytes(fd, 1 << 20, new Uint8Array(1))).toBeFalse();
  closeSync(fd);
});
