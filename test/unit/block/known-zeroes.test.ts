import { afterAll, expect, test } from "bun:test";
import { readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { type KnownZeroes, knownZeroesOf, zeroesOfBoth } from "../../../src/block/known-zeroes.ts";
import { diskOpener } from "../../../src/block/open-disk.ts";
import { openAnyImage, TestFolder } from "./files.ts";
import { qemu } from "./qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const MIB = 1 << 20;
const SIZE = 16 * MIB;
const STEP = 512;
const path = (name: string): string => join(folder.path, name);

function create(name: string, driver: string, options: string, ...more: readonly string[]): string {
  const at = options === "" ? [] : ["-o", options];
  qemu("qemu-img", "create", "-q", "-f", driver, ...at, ...more, path(name), ...(more.length > 0 ? [] : [`${SIZE}`]));
  return path(name);
}

function change(image: string, driver: string, ...commands: readonly string[]): void {
  qemu("qemu-io", "-f", driver, "-d", "unmap", ...commands.flatMap((command) => ["-c", command]), image);
}

/** Data at the start and the end of the disk, and in its middle some that was taken back. */
const CHANGES = ["write -q -P 1 0 1M", "write -q -P 2 5M 3M", "write -q -z 6M 1M", "write -q -P 3 16252928 100k"];

interface Kind {
  readonly driver: string;
  readonly make: (name: string) => string;
  /** Bytes that are known to be zeroes, at least. */
  readonly known: number;
}

const made = (driver: string, options: string, known: number): Kind => ({
  driver,
  known,
  make: (name) => {
    const image = create(name, driver, options);
    change(image, driver, ...CHANGES);
    return image;
  },
});

const onBacking = (driver: string, known: number): Kind => ({
  driver: "qcow2",
  known,
  make: (name) => {
    const below = create(`${name}.below`, driver, "");
    change(below, driver, "write -q -P 9 3M 4M", "write -q -P 8 9M 1M");
    const image = create(name, "qcow2", "", "-b", below, "-F", driver);
    qemu("qemu-img", "resize", "-q", "-f", "qcow2", image, `${SIZE + 4 * MIB}`);
    change(image, "qcow2", "write -q -P 1 0 1M", "write -q -z 5M 1M", "write -q -z -u 9M 512k", "write -q -P 5 19M 1M");
    return image;
  },
});

const KINDS: Readonly<Record<string, Kind>> = {
  raw: made("raw", "", 12 * MIB),
  "qcow2, clusters of 512 bytes": made("qcow2", "cluster_size=512", 12 * MIB),
  qcow2: made("qcow2", "", 12 * MIB),
  "qcow2, version 2": made("qcow2", "compat=0.10", 11 * MIB),
  "qcow2 with subclusters": made("qcow2", "extended_l2=on,cluster_size=128k", 12 * MIB),
  "qcow2, all tables there": made("qcow2", "preallocation=metadata", 11 * MIB),
  // What was allocated and read is data for the file system.
  "qcow2, all space there": made("qcow2", "preallocation=falloc", MIB),
  "qcow2 with a data file": {
    driver: "qcow2",
    known: 11 * MIB,
    make: (name) => {
      const image = create(name, "qcow2", `data_file=${path(name)}.data`);
      change(image, "qcow2", ...CHANGES);
      return image;
    },
  },
  "compressed qcow2": {
    driver: "qcow2",
    known: 11 * MIB,
    make: (name) => {
      const raw = made("raw", "", 0).make(`${name}.raw`);
      qemu("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path(name));
      return path(name);
    },
  },
  "qcow2 on a raw image": onBacking("raw", 12 * MIB),
  "qcow2 on a qcow2 image": onBacking("qcow2", 12 * MIB),
  vhdx: made("vhdx", "subformat=dynamic,block_size=1M", 9 * MIB),
  "fixed vhdx": made("vhdx", "subformat=fixed,block_size=1M", 0),
  vhd: made("vpc", "subformat=fixed,force_size=on", 0),
};

/** Goes through a disk. @returns bytes that are known to be zeroes; all of them are */
function knownIn(contents: Uint8Array, zeroes: KnownZeroes): number {
  let known = 0;
  for (let at = 0; at < contents.length; ) {
    const count = Math.min(zeroes(at), contents.length - at);
    if (contents.subarray(at, at + count).some((byte) => byte !== 0))
      throw new Error(`${count} bytes at ${at} are no zeroes`);
    known += count;
    at += Math.max(count, STEP);
  }
  return known;
}

for (const [name, { driver, make, known }] of Object.entries(KINDS))
  test(`what is known to be zeroes is: ${name}`, async () => {
    const image = make(`${name}.image`);
    const scratch = path("scratch.raw");
    qemu("qemu-img", "convert", "-f", driver, "-O", "raw", image, scratch);
    const contents = readFileSync(scratch);
    const opened = openAnyImage(image, { readonly: true, backingFiles: true });
    try {
      await diskOpener(opened.image, ["synchronous"]);
      const zeroes = knownZeroesOf(opened.image);
      expect(knownIn(contents, zeroes)).toBeGreaterThanOrEqual(known);
      expect(
        knownIn(
          contents,
          zeroesOfBoth(zeroes, () => 0),
        ),
      ).toBe(0);
    } finally {
      opened.close();
    }
  });

test("a raw image that has become too short has no zeroes where it ends", () => {
  const image = create("short", "raw", "");
  const opened = openAnyImage(image, { format: "raw", readonly: true });
  const zeroes = knownZeroesOf(opened.image);
  expect(zeroes(4 * MIB)).toBe(12 * MIB);
  truncateSync(image, 8 * MIB);
  expect(zeroes(4 * MIB)).toBe(0);
  expect(zeroes(10 * MIB)).toBe(0);
  opened.close();
});
