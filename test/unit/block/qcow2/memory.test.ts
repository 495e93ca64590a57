import { afterAll, expect, test } from "bun:test";
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DiskDriver } from "../disk-driver.ts";
import { TestFolder } from "../files.ts";
import { qemu } from "../qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());

const MIB = 1 << 20;
const CLUSTER_BYTES = 2 * MIB;
const ROUNDS = 30;
/** What a disk takes to unpack a cluster and to copy one. */
const TAKEN_BYTES = 4 * CLUSTER_BYTES;

const mappedBytes = (): number =>
  Number(/^VmSize:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1]) * 1024;

test("a disk that is closed gives back what it took for compressed clusters, its own and those below", async () => {
  const plain = folder.file("plain.raw", Buffer.alloc(2 * CLUSTER_BYTES, 7));
  const below = join(folder.path, "below.qcow2");
  const top = join(folder.path, "top.qcow2");
  const fresh = join(folder.path, "fresh.qcow2");
  const options = `cluster_size=${CLUSTER_BYTES}`;
  qemu("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, plain, below);
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", below, "-F", "qcow2", fresh);
  const use = async (): Promise<void> => {
    copyFileSync(fresh, top);
    using driver = await DiskDriver.open(top, { backingFiles: true });
    expect(driver.read(CLUSTER_BYTES, 512)[0]).toBe(7);
    driver.write(512, new Uint8Array(512).fill(1));
    expect(driver.read(0, 1024).subarray(511, 513)).toEqual(Uint8Array.of(7, 1));
  };
  for (let round = 0; round < 3; round++) await use();
  const before = mappedBytes();
  for (let round = 0; round < ROUNDS; round++) await use();
  expect(mappedBytes() - before).toBeLessThan((ROUNDS * TAKEN_BYTES) / 4);
});
