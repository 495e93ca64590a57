import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DiskImageError } from "../../../../src/block/image-error.ts";
import { DiskDriver } from "../disk-driver.ts";
import { TestFolder } from "../files.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const path = join(folder.path, "image.qcow2");
const CLUSTER = 65536;
const SUBCLUSTER = CLUSTER / 32;
const SIZE = 8 * CLUSTER;

function create(...below: readonly string[]): void {
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", ...below, path, String(SIZE));
}

/** Where on the disk the image itself has data, and where zeroes that hide what is below. */
function extents(): { readonly data: [number, number][]; readonly zero: [number, number][] } {
  const map: { start: number; length: number; depth: number; zero: boolean; data: boolean }[] = JSON.parse(
    qemu("qemu-img", "map", "--output=json", "-f", "qcow2", path),
  );
  const own = map.filter(({ depth }) => depth === 0);
  return {
    data: own.filter(({ data }) => data).map(({ start, length }) => [start, length]),
    zero: own.filter(({ zero, data }) => zero && !data).map(({ start, length }) => [start, length]),
  };
}

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

describe.each(["io_uring", "synchronous"] as const)("subclusters, by %s", (engine) => {
  const open = (): Promise<DiskDriver> => DiskDriver.open(path, { backingFiles: true }, SIZE, engine);

  test("a write copies from below what it leaves out of its subclusters, and no more", async () => {
    create("-b", folder.file("below.raw", filled(SIZE, 5)), "-F", "raw");
    {
      using disk = await open();
      disk.write(3 * SUBCLUSTER + 512, filled(512, 1));
      disk.write(9 * SUBCLUSTER + 1024, filled(2 * SUBCLUSTER, 2));
      disk.write(CLUSTER - 512, filled(1024, 3));
    }
    checkImage(path);
    expect(extents().data).toEqual([
      [3 * SUBCLUSTER, SUBCLUSTER],
      [9 * SUBCLUSTER, 3 * SUBCLUSTER],
      [CLUSTER - SUBCLUSTER, 2 * SUBCLUSTER],
    ]);
    const expected = filled(SIZE, 5);
    expected.fill(1, 3 * SUBCLUSTER + 512, 3 * SUBCLUSTER + 1024);
    expected.fill(2, 9 * SUBCLUSTER + 1024, 11 * SUBCLUSTER + 1024);
    expected.fill(3, CLUSTER - 512, CLUSTER + 512);
    expect(Buffer.compare(await contentsOf(path, join(folder.path, "contents")), expected)).toBe(0);
    using disk = await open();
    expect(Buffer.compare(disk.read(0, SIZE), expected)).toBe(0);
  });

  test("discarded subclusters read as zeroes; a cluster without others gives its place up", async () => {
    create("-b", folder.file("below.raw", filled(SIZE, 5)), "-F", "raw");
    {
      using disk = await open();
      disk.write(0, filled(2 * CLUSTER, 1));
      disk.discard(512, 3 * SUBCLUSTER);
      disk.zero(CLUSTER, CLUSTER - SUBCLUSTER, true);
      disk.zero(2 * CLUSTER + SUBCLUSTER, SUBCLUSTER, true);
      disk.flush();
    }
    checkImage(path);
    expect(extents()).toEqual({
      data: [
        [0, SUBCLUSTER],
        [3 * SUBCLUSTER, CLUSTER - 3 * SUBCLUSTER],
        [2 * CLUSTER - SUBCLUSTER, SUBCLUSTER],
      ],
      zero: [
        [SUBCLUSTER, 2 * SUBCLUSTER],
        [CLUSTER, CLUSTER - SUBCLUSTER],
        [2 * CLUSTER + SUBCLUSTER, SUBCLUSTER],
      ],
    });
    {
      using disk = await open();
      disk.discard(0, SUBCLUSTER);
      disk.discard(3 * SUBCLUSTER, CLUSTER - 3 * SUBCLUSTER);
      disk.flush();
    }
    checkImage(path);
    const found: { readonly "allocated-clusters"?: number } = JSON.parse(
      qemu("qemu-img", "check", "--output=json", "-f", "qcow2", path),
    );
    // The one with the subcluster that was left.
    expect(found["allocated-clusters"]).toBe(1);
    using disk = await open();
    expect(new Set(disk.read(0, CLUSTER))).toEqual(new Set([0]));
  });
});

describe("images that cannot be right", () => {
  /** The only entry of the L2 table of an image with one cluster of data, at `at` in `bytes`. */
  function oneCluster(): { readonly bytes: Buffer; readonly at: number } {
    create();
    qemu("qemu-io", "-f", "qcow2", "-c", `write -q -P 1 0 ${SUBCLUSTER}`, path);
    const bytes = readFileSync(path);
    const pointer = (at: number): number => Number(bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
    return { bytes, at: pointer(pointer(40)) };
  }
  const outcome = async (bytes: Buffer): Promise<string> => {
    writeFileSync(path, bytes);
    try {
      using disk = await DiskDriver.open(path);
      disk.read(0, CLUSTER);
      return "";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };

  test("subclusters that are allocated and read as zeroes, or allocated without a cluster", async () => {
    const { bytes, at } = oneCluster();
    expect(await outcome(bytes)).toBe("");
    expect(bytes.readBigUInt64BE(at + 8)).toBe(1n);
    bytes.writeBigUInt64BE(0x1_0000_0001n, at + 8);
    expect(await outcome(bytes)).toContain("errno 5");
    expect(readFileSync(path).readUInt32BE(76) & 2).toBe(2);
    bytes.writeBigUInt64BE(1n, at + 8);
    bytes.writeBigUInt64BE(0n, at);
    expect(await outcome(bytes)).toContain("errno 5");
    bytes.writeBigUInt64BE(1n, at);
    bytes.writeBigUInt64BE(0n, at + 8);
    expect(await outcome(bytes)).toContain("errno 5");
  });

  test("subclusters in small clusters", async () => {
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=8192", path, "1M");
    const bytes = readFileSync(path);
    bytes.writeUInt32BE(1 << 4, 76);
    writeFileSync(path, bytes);
    await expect(DiskDriver.open(path)).rejects.toThrow(DiskImageError);
    expect(await outcome(bytes)).toContain("has subclusters in clusters of 2^13 bytes");
  });
});
