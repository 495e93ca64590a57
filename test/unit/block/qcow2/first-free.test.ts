import { afterAll, expect, test } from "bun:test";
import { statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { Random } from "../../random.ts";
import { DiskDriver } from "../disk-driver.ts";
import { TestFolder } from "../files.ts";
import { checkImage, qemu } from "../qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());

const KIB = 1024;
const CLUSTER_BYTES = 512;
const FULL_BYTES = 1536 * KIB;
/** Bytes of the disk that one L2 table is for. */
const L2_COVERS = (CLUSTER_BYTES / 8) * CLUSTER_BYTES;

test.each([1, 2, 8, 16, 32, 64])(
  "the one free cluster of a file is found wherever it is, with refcounts of %p bits",
  async (refcountBits) => {
    const path = join(folder.path, `${refcountBits}.qcow2`);
    const options = `cluster_size=${CLUSTER_BYTES},refcount_bits=${refcountBits}`;
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "2M");
    qemu("qemu-io", "-f", "qcow2", "-c", `write -q -P 1 0 ${FULL_BYTES}`, path);
    const random = new Random(refcountBits);
    const places = Array.from({ length: 60 }, () => random.below(FULL_BYTES / CLUSTER_BYTES));
    {
      using driver = await DiskDriver.open(path);
      let next = FULL_BYTES;
      const add = (): void => {
        driver.write(next, new Uint8Array(CLUSTER_BYTES).fill(2));
        driver.flush();
        next += CLUSTER_BYTES;
      };
      // Their L2 table, and clusters that QEMU may have left free.
      for (let i = 0; i < 4; i++) add();
      const before = statSync(path).size;
      let tables = 0;
      for (const place of [0, FULL_BYTES / CLUSTER_BYTES - 1, ...new Set(places)]) {
        if (next % L2_COVERS === 0) {
          add();
          tables += 2;
        }
        driver.discard(place * CLUSTER_BYTES, CLUSTER_BYTES);
        driver.flush();
        add();
      }
      // The file may have ended one cluster before what was allocated.
      expect(statSync(path).size - before).toBeLessThanOrEqual((tables + 1) * CLUSTER_BYTES);
    }
    checkImage(path);
  },
);

test("a search without end does not hold up whoever writes", async () => {
  // A sparse file of 15 TiB whose clusters have no refcounts, and so are not free either.
  const path = join(folder.path, "sparse.qcow2");
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512,refcount_bits=64", path, "1M");
  truncateSync(path, 15 * 2 ** 40);
  using driver = await DiskDriver.open(path);
  const start = performance.now();
  for (let i = 0; i < 4; i++) driver.write(i * 32768, new Uint8Array(512).fill(1));
  driver.discard(0, 32768);
  driver.flush();
  driver.write(0, new Uint8Array(512).fill(2));
  // Without a bound each of these takes half a minute.
  expect(performance.now() - start).toBeLessThan(5000);
});
