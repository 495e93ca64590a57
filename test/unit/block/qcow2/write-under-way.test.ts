import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DiskImageOptions } from "../../../../src/block/disk-image.ts";
import { type Qcow2Image, viewOf } from "../../../../src/block/qcow2/image.ts";
import { Qcow2Disk } from "../../../../src/block/qcow2/qcow2-disk.ts";
import { RawDisk } from "../../../../src/block/raw-disk.ts";
import { OPERATIONS_PER_REQUEST } from "../../../../src/block/split-requests.ts";
import { setIovec } from "../../../../src/host/iovec.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { DiskDriver } from "../disk-driver.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { checkImage, qemu } from "../qemu.ts";
import { RecordingEngine, RecordingFile } from "../recorder.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());

const SECTOR = 512;
const CLUSTER = 65536;
const SIZE = 64 * CLUSTER;
const TAGS = 2;
const memory = mapAnonymous(4 * CLUSTER);
/** Of an image that has one, and of the image that is left by a cut: names of the same length. */
const DATA_FILE = "live.data";
const CUT_DATA_FILE = "left.data";

/** A disk whose data is not written before somebody waits for it. */
class SlowDisk implements Disposable {
  readonly #disk: Qcow2Disk;
  readonly #close: () => void;

  constructor(path: string, options: Partial<DiskImageOptions> = {}) {
    const opened = openAnyImage(path, { format: "qcow2", backingFiles: true, ...options });
    const image = opened.image as Qcow2Image;
    const recorder = new RecordingFile(image.cachedFd);
    const dataFd = image.data?.cachedFd;
    const data = dataFd === undefined ? recorder : new RecordingFile(dataFd, recorder);
    const fd = dataFd ?? image.fd;
    const file = { fd, cachedFd: fd, alignment: 1, isDevice: false, endsInZeroes: true };
    const operations = TAGS * OPERATIONS_PER_REQUEST;
    const engine = new RecordingEngine(data, () => 0);
    const raw = new RawDisk(file, engine, mapAnonymous(operations * 2 * 16), operations, 2);
    this.#disk = new Qcow2Disk(image, viewOf(image, recorder, data), data, raw, 0);
    this.#close = () => {
      this.#disk.close();
      opened.close();
    };
  }

  start(tag: number, offset: number, length: number, value: number): void {
    memory.u8.fill(value, 0, length);
    setIovec(this.#disk.segments(tag), 0, memory.address, length);
    this.#disk.write(tag, offset, length, 1);
  }

  /** Takes a completion. @returns its tag */
  take(): number {
    while (!this.#disk.next()) this.#disk.wait(true);
    expect(this.#disk.error).toBe(0);
    return this.#disk.tag;
  }

  write(offset: number, length: number, value: number): void {
    this.start(0, offset, length, value);
    expect(this.take()).toBe(0);
  }

  flush(tag: number): void {
    this.#disk.flush(tag);
    // What did not have to wait ends before it.
    while (this.take() !== tag);
  }

  discard(offset: number, length: number): void {
    this.#disk.discard(1, offset, length);
    expect(this.take()).toBe(1);
  }

  [Symbol.dispose](): void {
    while (this.#disk.underWay > 0) this.take();
    this.#close();
  }
}

const create = (name: string, ...args: readonly string[]): string => {
  const path = join(folder.path, name);
  qemu("qemu-img", "create", "-q", "-f", "qcow2", ...args, path, String(SIZE));
  return path;
};

/** What a disk whose file is as it is now holds, once it is opened again. */
async function afterCut(path: string, offset: number, length: number): Promise<Set<number>> {
  const cut = join(folder.path, "cut.qcow2");
  const bytes = readFileSync(path);
  const named = bytes.indexOf(DATA_FILE);
  if (named >= 0) {
    bytes.write(CUT_DATA_FILE, named);
    copyFileSync(join(folder.path, DATA_FILE), join(folder.path, CUT_DATA_FILE));
  }
  writeFileSync(cut, bytes);
  checkImage(cut);
  using driver = await DiskDriver.open(cut, { backingFiles: true });
  return new Set(driver.read(offset, length));
}

describe("the power fails while a write is under way, after a flush that came later", () => {
  test("new clusters read as zeroes: the file does not end before them", async () => {
    const path = create("new.qcow2");
    using disk = new SlowDisk(path);
    disk.start(0, 5 * CLUSTER, 3 * CLUSTER, 7);
    disk.flush(1);
    expect(await afterCut(path, 5 * CLUSTER, 3 * CLUSTER)).toEqual(new Set([0]));
    expect(disk.take()).toBe(0);
    disk.flush(1);
    expect(await afterCut(path, 5 * CLUSTER, 3 * CLUSTER)).toEqual(new Set([7]));
  });

  test("clusters that were in use before do not show what they held", async () => {
    const path = create("reused.qcow2");
    using disk = new SlowDisk(path, { sparse: false });
    disk.write(0, CLUSTER, 9);
    disk.write(CLUSTER, CLUSTER, 8);
    disk.flush(1);
    disk.discard(0, CLUSTER);
    disk.flush(1);
    disk.flush(1);
    disk.start(0, 9 * CLUSTER, CLUSTER, 7);
    disk.flush(1);
    const seen = await afterCut(path, 9 * CLUSTER, CLUSTER);
    expect(seen.size).toBe(1);
    expect([0, 7]).toContain([...seen][0] ?? -1);
  });

  test("what a backing file shows does not turn into zeroes", async () => {
    const below = folder.file("below.raw", new Uint8Array(SIZE).fill(5));
    const path = create("overlay.qcow2", "-b", below, "-F", "raw");
    using disk = new SlowDisk(path);
    disk.start(0, 9 * CLUSTER + SECTOR, SECTOR, 7);
    disk.flush(1);
    const seen = await afterCut(path, 9 * CLUSTER + SECTOR, SECTOR);
    expect(seen.size).toBe(1);
    expect([5, 7]).toContain([...seen][0] ?? -1);
    expect(await afterCut(path, 9 * CLUSTER, SECTOR)).toEqual(new Set([5]));
  });

  test("a data file does not show what it held before", async () => {
    const below = folder.file("below.raw", new Uint8Array(SIZE).fill(5));
    const data = join(folder.path, DATA_FILE);
    const path = create("outside.qcow2", "-o", `data_file=${data}`, "-b", below, "-F", "raw");
    writeFileSync(data, new Uint8Array(SIZE).fill(9));
    using disk = new SlowDisk(path);
    disk.start(0, 9 * CLUSTER, CLUSTER, 7);
    disk.flush(1);
    const seen = await afterCut(path, 9 * CLUSTER, CLUSTER);
    expect(seen.size).toBe(1);
    expect([5, 7]).toContain([...seen][0] ?? -1);
  });

  test("subclusters that get data later do not show what their place held", async () => {
    const below = folder.file("below.raw", new Uint8Array(SIZE).fill(5));
    const path = create("subclusters.qcow2", "-o", "extended_l2=on", "-b", below, "-F", "raw");
    const subcluster = CLUSTER / 32;
    using disk = new SlowDisk(path);
    disk.write(9 * CLUSTER, subcluster, 6);
    disk.flush(1);
    disk.start(0, 9 * CLUSTER + subcluster, subcluster, 7);
    disk.flush(1);
    const seen = await afterCut(path, 9 * CLUSTER + subcluster, subcluster);
    expect(seen.size).toBe(1);
    expect([5, 7]).toContain([...seen][0] ?? -1);
  });
});

test("a request in more parts than there are operations for is carried out all the same", async () => {
  const path = create("parts.qcow2");
  const count = 40;
  {
    using disk = new SlowDisk(path);
    // Backwards, so that no two clusters are neighbours in the file.
    for (let cluster = count - 1; cluster >= 0; cluster--) disk.write(cluster * CLUSTER, CLUSTER, cluster + 1);
    disk.flush(1);
  }
  using driver = await DiskDriver.open(path, {}, count * CLUSTER);
  const cuts = [100, CLUSTER - 1, 3 * CLUSTER + 5, 7 * CLUSTER, 7 * CLUSTER + 1];
  const expected = Buffer.alloc(count * CLUSTER);
  for (let cluster = 0; cluster < count; cluster++)
    expected.fill(cluster + 1, cluster * CLUSTER, (cluster + 1) * CLUSTER);
  expect(Buffer.compare(driver.read(0, count * CLUSTER, cuts), expected)).toBe(0);
  const data = new Uint8Array(count * CLUSTER).map((_, i) => (i >> 9) % 251);
  driver.write(0, data, cuts);
  expect(Buffer.compare(driver.read(0, count * CLUSTER), data)).toBe(0);
});
