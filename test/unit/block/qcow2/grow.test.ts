import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { resizeImage } from "../../../../src/block/resize-image.ts";
import { DiskDriver } from "../disk-driver.ts";
import { TestFolder } from "../files.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const path = join(folder.path, "grow.qcow2");

test.each(["512", "4096", "65536", "16384,extended_l2=on"])(
  "a disk with clusters of %s bytes grows in use",
  async (clusterBytes) => {
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", `cluster_size=${clusterBytes}`, path, String(1 << 20));
    {
      using driver = await DiskDriver.open(path);
      driver.write(0, new Uint8Array(512).fill(1));
      resizeImage(driver.image.image, 5 << 20, true);
      driver.write((5 << 20) - 512, new Uint8Array(512).fill(2));
      expect(driver.read((5 << 20) - 1024, 1024).subarray(510, 514)).toEqual(Uint8Array.of(0, 0, 2, 2));
      resizeImage(driver.image.image, 5 << 20, true);
      expect(() => resizeImage(driver.image.image, 1 << 20, true)).toThrow("cannot be made a disk of 1048576 bytes");
    }
    checkImage(path);
    const contents = await contentsOf(path, join(folder.path, "contents"));
    expect([contents.length, contents[0], contents.at(-1), contents[1 << 20]]).toEqual([5 << 20, 1, 2, 0]);
  },
);

test("not beyond a backing file, nor beyond what its tables have room for", async () => {
  const raw = folder.file("below.raw", Buffer.alloc(65536));
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", path);
  {
    using driver = await DiskDriver.open(path, { backingFiles: true });
    expect(() => resizeImage(driver.image.image, 1 << 20, true)).toThrow("cannot be made a disk");
  }
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "64k");
  using driver = await DiskDriver.open(path);
  expect(() => resizeImage(driver.image.image, 2 ** 40, true)).toThrow("cannot be made a disk");
  driver.write(0, new Uint8Array(512));
  driver.flush();
});

test.each([
  ["512", 32 << 20],
  ["1k", 100 << 20],
])("a disk with clusters of %s that has grown can be filled", async (clusterBytes, size) => {
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", `cluster_size=${clusterBytes}`, path, String(1 << 20));
  {
    using driver = await DiskDriver.open(path);
    resizeImage(driver.image.image, size, true);
    const data = new Uint8Array(1 << 20).fill(1);
    for (let at = 0; at < size; at += data.length) driver.write(at, data);
    driver.flush();
  }
  checkImage(path);
});

test("a raw data file that keeps its size, and a size that no image can have", async () => {
  const options = `data_file=${join(folder.path, "data")},data_file_raw=on`;
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, String(1 << 20));
  {
    using driver = await DiskDriver.open(path, { backingFiles: true });
    resizeImage(driver.image.image, 1 << 20, true);
  }
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", path, "1G");
  {
    using driver = await DiskDriver.open(path);
    expect(() => resizeImage(driver.image.image, 2 ** 45, true)).toThrow("cannot be made a disk");
  }
  using driver = await DiskDriver.open(path);
  expect(driver.image.image.size).toBe(2 ** 30);
});
