import { afterAll, describe, expect, test } from "bun:test";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import type { IoEngineKind } from "../../../src/block/load-engine.ts";
import { DiskDriver } from "./disk-driver.ts";
import { noDirectIo, TestFolder } from "./files.ts";
import { qemu } from "./qemu.ts";

const MIB = 1 << 20;
const SECTOR = 512;

const folder = new TestFolder();
afterAll(() => folder.remove());
const canDirect = noDirectIo(folder) === undefined;

/** How QEMU makes an image of each kind. */
const KINDS = {
  raw: ["-O", "raw"],
  vhd: ["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
  qcow2: ["-O", "qcow2"],
  "small clusters": ["-O", "qcow2", "-o", "cluster_size=512"],
  compressed: ["-c", "-O", "qcow2"],
  vhdx: ["-O", "vhdx", "-o", "block_size=1M"],
} as const;
type Kind = keyof typeof KINDS;

const ALL = Object.keys(KINDS).filter((kind): kind is Kind => kind in KINDS);
const formatOf = (kind: Kind) => (kind === "small clusters" || kind === "compressed" ? "qcow2" : kind);
const isPlain = (kind: Kind): boolean => kind === "raw" || kind === "vhd";

const contents = new Uint8Array(4 * MIB);
for (let at = 0; at < contents.length; at += SECTOR) contents.fill(1 + ((at / SECTOR) % 255), at, at + SECTOR);
const source = folder.file("source.raw", contents);

function make(kind: Kind): string {
  const path = join(folder.path, "image");
  qemu("qemu-img", "convert", "-q", "-f", "raw", ...KINDS[kind], source, path);
  return path;
}

/** The errno that a request ends with, 0 without. */
function errnoOf(request: () => void): number {
  try {
    request();
    return 0;
  } catch (error) {
    return Number(/errno (\d+)$/.exec(String(error))?.[1]);
  }
}

const WAYS: readonly (readonly [IoEngineKind, boolean])[] = [
  ["io_uring", false],
  ["synchronous", false],
  ...(canDirect ? ([["io_uring", true]] as const) : []),
];

for (const [engine, direct] of WAYS)
  describe(`a file that others change under a disk (${engine}${direct ? ", direct" : ""})`, () => {
    test.each(ALL)("%s: longer, and nothing is different", async (kind) => {
      const path = make(kind);
      using driver = await DiskDriver.open(path, { format: formatOf(kind), direct }, contents.length, engine);
      truncateSync(path, 64 * MIB);
      expect(Buffer.compare(driver.read(0, contents.length), contents)).toBe(0);
      const bytes = new Uint8Array(3 * SECTOR).fill(7);
      driver.write(2 * MIB - SECTOR, bytes);
      driver.flush();
      expect(driver.read(2 * MIB - SECTOR, bytes.length)).toEqual(bytes);
    });

    test.each(ALL)("%s: cut short anywhere, and requests end, with the data or an error", async (kind) => {
      for (const length of [3 * MIB - 100, 4096, 0]) {
        const path = make(kind);
        using driver = await DiskDriver.open(path, { format: formatOf(kind), direct }, contents.length, engine);
        truncateSync(path, length);
        // What is gone is an error, or zeroes where metadata cannot tell it from what was never written.
        if (isPlain(kind)) {
          const whole = length - (length % SECTOR);
          if (whole > 0) expect(Buffer.compare(driver.read(0, whole), contents.subarray(0, whole))).toBe(0);
          expect(errnoOf(() => driver.read(whole, SECTOR))).toBe(5);
        }
        for (let offset = 0; offset < contents.length; offset += MIB / 2) {
          const errnos = [
            errnoOf(() => driver.read(offset, 65536)),
            errnoOf(() => driver.write(offset, contents.subarray(0, 4096))),
            errnoOf(() => driver.zero(offset + 8192, 4096, true)),
            errnoOf(() => driver.discard(offset + 65536, 65536)),
            errnoOf(() => driver.flush()),
          ];
          for (const errno of errnos) expect([0, 5]).toContain(errno);
        }
      }
    });
  });

test("a backing file that is cut short reads as zeroes beyond its end", async () => {
  const below = folder.file("below.raw", contents);
  const path = join(folder.path, "above.qcow2");
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", path);
  using driver = await DiskDriver.open(path, { backingFiles: true });
  truncateSync(below, MIB);
  expect(Buffer.compare(driver.read(0, MIB), contents.subarray(0, MIB))).toBe(0);
  expect(driver.read(2 * MIB, SECTOR)).toEqual(new Uint8Array(SECTOR));
  driver.write(2 * MIB, contents.subarray(0, SECTOR));
  driver.flush();
  expect(driver.read(2 * MIB, SECTOR)).toEqual(contents.slice(0, SECTOR));
});
