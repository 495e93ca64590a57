import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DiskImageError } from "../../../../src/block/image-error.ts";
import { type ImageFile, PosixImageFile } from "../../../../src/block/image-file.ts";
import { prepareImage } from "../../../../src/block/prepare-image.ts";
import { type Qcow2Findings, type Window, walkQcow2 } from "../../../../src/block/qcow2/check.ts";
import { readHeader } from "../../../../src/block/qcow2/open.ts";
import type { RepairableImage } from "../../../../src/block/qcow2/refcount-writer.ts";
import { type RepairKind, repairQcow2 } from "../../../../src/block/qcow2/repair.ts";
import { Random } from "../../random.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { writeCut } from "../power-cut.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";
import { type FileEvent, RecordingFile } from "../recorder.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const path = join(folder.path, "image.qcow2");
const scratch = join(folder.path, "scratch.raw");
const DIRTY_AT = 79;

function toEnd<T>(steps: Generator<void, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** Uses an image as the code under test gets it. */
function withImage<T>(
  use: (image: RepairableImage) => T,
  fileOf = (fd: number): ImageFile => new PosixImageFile(fd),
): T {
  const fd = openSync(path, "r+");
  try {
    const fileSize = fstatSync(fd).size;
    return use({ path, fd, fileSize, header: readHeader(path, fd, fileSize), file: fileOf(fd) });
  } finally {
    closeSync(fd);
  }
}

const repair = (kind: RepairKind, window?: number): Qcow2Findings =>
  withImage((image) => toEnd(repairQcow2(image, { kind, window })));
const findings = (): Qcow2Findings => withImage((image) => toEnd(walkQcow2(image, {})));

interface Kind {
  readonly options: string;
  readonly clusterBytes: number;
  readonly refcountBits: number;
  readonly snapshot: boolean;
}

const KINDS: Kind[] = [
  { options: "compat=1.1", clusterBytes: 512, refcountBits: 16, snapshot: true },
  { options: "compat=1.1", clusterBytes: 4096, refcountBits: 1, snapshot: false },
  { options: "compat=1.1", clusterBytes: 4096, refcountBits: 4, snapshot: true },
  { options: "compat=1.1", clusterBytes: 4096, refcountBits: 8, snapshot: true },
  { options: "compat=1.1", clusterBytes: 1024, refcountBits: 32, snapshot: true },
  { options: "compat=1.1", clusterBytes: 1024, refcountBits: 64, snapshot: true },
  { options: "compat=1.1,extended_l2=on", clusterBytes: 16384, refcountBits: 16, snapshot: true },
  { options: "compat=0.10", clusterBytes: 4096, refcountBits: 16, snapshot: true },
  { options: "compat=1.1", clusterBytes: 65536, refcountBits: 16, snapshot: true },
];

function makeImage({ options, clusterBytes, refcountBits, snapshot }: Kind): void {
  const bits = options === "compat=0.10" ? "" : `,refcount_bits=${refcountBits}`;
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", `${options},cluster_size=${clusterBytes}${bits}`, path, "2M");
  const write = (...commands: string[]) =>
    qemu("qemu-io", "-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), path);
  write("write -q -P 1 0 700k", "write -q -P 2 1M 100k", "write -q -z 300k 64k");
  if (!snapshot) return;
  qemu("qemu-img", "snapshot", "-c", "first", path);
  write("write -q -P 3 100k 300k", "write -q -P 4 1900k 20k");
}

const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);

/** Does to refcounts, and to flags that follow from them, what a program may have done that did not write them. */
function damage(bytes: Buffer, random: Random, { clusterBytes, options }: Kind): void {
  const table = u64(bytes, 48);
  const blocks = Array.from({ length: bytes.readUInt32BE(56) * (clusterBytes / 8) }, (_, i) => i).filter(
    (i) => u64(bytes, table + 8 * i) !== 0,
  );
  const anyBlock = (): number => blocks[random.below(blocks.length)] ?? 0;
  for (let i = 0; i < 12; i++) {
    const block = u64(bytes, table + 8 * anyBlock());
    const at = block + random.below(clusterBytes);
    bytes[at] = random.pick([0, 1, 0xff, random.below(256)]);
  }
  const l1 = u64(bytes, 40);
  if (random.below(3) === 0) bytes.writeBigUInt64BE(random.pick([0n, BigInt(l1), 1n << 40n]), table + 8 * anyBlock());
  const l2 = u64(bytes, l1);
  const entryBytes = options.includes("extended_l2") ? 16 : 8;
  for (let i = 0; i < 3; i++) {
    const at = l2 + entryBytes * random.below(clusterBytes / entryBytes);
    if (u64(bytes, at) !== 0) bytes[at] = (bytes[at] ?? 0) ^ 0x80;
  }
  if (options !== "compat=0.10") bytes[DIRTY_AT] = (bytes[DIRTY_AT] ?? 0) | random.pick([1, 2, 3]);
}

describe("refcounts are mended, whatever is wrong with them", () => {
  for (const kind of KINDS)
    test(`${kind.options}, clusters of ${kind.clusterBytes}, ${kind.refcountBits} bits`, async () => {
      const random = new Random(kind.clusterBytes + kind.refcountBits);
      makeImage(kind);
      const whole = readFileSync(path);
      const contents = await contentsOf(path, scratch);
      for (let round = 0; round < 12; round++) {
        const bytes = Buffer.from(whole);
        damage(bytes, random, kind);
        writeFileSync(path, bytes);
        expect(repair("all", random.pick([undefined, 64, 1000])).broken).toBe(0);
        expect({ round, ...findings() }).toMatchObject({ round, corruptions: 0, leaks: 0 });
        checkImage(path);
        expect((readFileSync(path)[DIRTY_AT] ?? 0) & 3).toBe(0);
        expect(await contentsOf(path, scratch)).toEqual(contents);
      }
    }, 60_000);
});

/** Repairs the image, and remembers how. */
function recordedRepair(kind: RepairKind): readonly FileEvent[] {
  let recording: RecordingFile | undefined;
  withImage(
    (image) => toEnd(repairQcow2(image, { kind })),
    (fd) => {
      recording = new RecordingFile(fd);
      return recording;
    },
  );
  return recording?.events ?? [];
}

/** What writing to the image would do harm to: refcounts that are too low or lost, and entries that are wrong about them. */
function dangers(): { readonly refcounts: boolean; readonly flags: { readonly isUsedOnce: boolean }[] } {
  let refcounts = false;
  const flags: { readonly isUsedOnce: boolean }[] = [];
  const lost = (): void => {
    refcounts = true;
  };
  const onWindow = ({ used, stored }: Window): void => {
    if (used.some((count, index) => count > (stored[index] ?? 0))) lost();
  };
  const onWrongFlag = (_: number, isUsedOnce: boolean): void => {
    flags.push({ isUsedOnce });
  };
  withImage((image) => toEnd(walkQcow2(image, { onWindow, onWrongFlag, onLostRefcounts: lost })));
  return { refcounts, flags };
}

test("a cut at any write of a repair leaves an image as wrong as before or in order, with the same contents, and that can be repaired", async () => {
  const random = new Random(7);
  let mended = 0;
  for (const kind of KINDS.filter(({ refcountBits }) => refcountBits === 16)) {
    makeImage(kind);
    const whole = readFileSync(path);
    const contents = await contentsOf(path, scratch);
    for (let round = 0; round < 4; round++) {
      const start = Buffer.from(whole);
      do {
        damage(start, random, kind);
        writeFileSync(path, start);
      } while (!dangers().refcounts);
      const events = recordedRepair("all");
      expect(events.length).toBeGreaterThan(2);
      const cuts = [events.length, events.length - 1, events.length - 2];
      for (let at = 0; at < events.length; at += 1 + random.below(Math.ceil(events.length / 12))) cuts.push(at);
      for (const at of cuts) {
        writeCut(path, start, events, at, random);
        const isMarked = ((readFileSync(path)[DIRTY_AT] ?? 0) & 3) !== 0;
        if (kind.options !== "compat=0.10") {
          if (!isMarked) checkImage(path);
        } else if (!dangers().refcounts) {
          // Version 2 has no mark.
          checkImage(path);
          mended++;
        }
        repair("all");
        checkImage(path);
        expect(await contentsOf(path, scratch)).toEqual(contents);
      }
    }
  }
  expect(mended).toBeGreaterThan(4);
}, 120_000);

test("a cut at any write of a repair of leaks leaves no entry that says wrongly that its cluster is used once", () => {
  const kind: Kind = { options: "compat=0.10", clusterBytes: 4096, refcountBits: 16, snapshot: false };
  const random = new Random(8);
  for (const repairKind of ["leaks", "all"] as const) {
    makeImage(kind);
    const start = readFileSync(path);
    const l2 = u64(start, u64(start, 40));
    // As it is when the snapshot that shared them was taken out of its table, and no more.
    for (let entry = l2; entry < l2 + 8 * 40; entry += 8) {
      setRefcount(start, u64(start, entry) / kind.clusterBytes, 2);
      start[entry] = (start[entry] ?? 0) & 0x7f;
    }
    writeFileSync(path, start);
    expect(findings()).toMatchObject({ corruptions: 0, leaks: 40 });
    const events = recordedRepair(repairKind);
    expect(events.length).toBeGreaterThan(40);
    for (let at = 0; at <= events.length; at++) {
      writeCut(path, start, events, at, random);
      const { refcounts, flags } = dangers();
      expect({ at, refcounts, harm: flags.filter(({ isUsedOnce }) => !isUsedOnce) }).toEqual({
        at,
        refcounts: false,
        harm: [],
      });
      repair("all");
      checkImage(path);
    }
  }
}, 60_000);

const SMALL: Kind = { options: "compat=1.1", clusterBytes: 4096, refcountBits: 16, snapshot: false };

/** The refcount of a cluster, in the first block. */
function setRefcount(bytes: Buffer, cluster: number, count: number): void {
  bytes.writeUInt16BE(count, u64(bytes, u64(bytes, 48)) + 2 * cluster);
}

test("leaks are given back in place; a refcount that is too low stays as it is unless all is to be mended", () => {
  makeImage(SMALL);
  const bytes = readFileSync(path);
  const clusters = bytes.length / SMALL.clusterBytes;
  const data = u64(bytes, u64(bytes, u64(bytes, 40))) / SMALL.clusterBytes;
  setRefcount(bytes, clusters + 3, 7);
  const grown = Buffer.concat([bytes, Buffer.alloc(8 * SMALL.clusterBytes)]);
  writeFileSync(path, grown);
  expect(repair("leaks")).toMatchObject({ corruptions: 0, leaks: 1 });
  expect(findings()).toMatchObject({ corruptions: 0, leaks: 0 });
  expect(readFileSync(path).length).toBe(grown.length);

  setRefcount(grown, data, 0);
  writeFileSync(path, grown);
  // Its refcount, and the flag that says 1.
  expect(repair("leaks")).toMatchObject({ corruptions: 2, leaks: 1 });
  expect(findings()).toMatchObject({ corruptions: 2, leaks: 0 });
  expect(repair("all")).toMatchObject({ corruptions: 2 });
  checkImage(path);
});

describe("refcounts that are not where the image says are made anew", () => {
  for (const kind of KINDS.filter(({ clusterBytes }) => clusterBytes > 512))
    test(`${kind.options}, clusters of ${kind.clusterBytes}, ${kind.refcountBits} bits`, async () => {
      makeImage(kind);
      const whole = readFileSync(path);
      const contents = await contentsOf(path, scratch);
      const l1 = u64(whole, 40);
      const table = u64(whole, 48);
      const { clusterBytes } = kind;
      // An L2 table, for one, must not be taken for refcounts and written to as such.
      for (const entry of [1 << 30, clusterBytes + 512, u64(whole, table) | 1, u64(whole, l1), l1, table]) {
        const bytes = Buffer.from(whole);
        bytes.writeBigUInt64BE(BigInt(entry), table);
        writeFileSync(path, bytes);
        expect(repair("leaks").corruptions).toBeGreaterThan(0);
        expect(readFileSync(path)).toEqual(bytes);
        expect(repair("all")).toMatchObject({ broken: 0 });
        expect({ entry, ...findings() }).toMatchObject({ entry, corruptions: 0, leaks: 0 });
        checkImage(path);
        expect(await contentsOf(path, scratch)).toEqual(contents);
      }
    }, 60_000);
});

test("an image whose header is not counted gets its refcounts before it is written to, and an image that is gets none", async () => {
  for (const kind of KINDS) {
    makeImage(kind);
    const whole = readFileSync(path);
    const contents = await contentsOf(path, scratch);
    const block = u64(whole, u64(whole, 48));
    await prepareImage(path);
    const untouched = openAnyImage(path, { format: "qcow2" });
    expect(untouched.warnings).toEqual([]);
    untouched.close();
    expect(readFileSync(path)).toEqual(whole);
    const bits = kind.options === "compat=0.10" ? 16 : kind.refcountBits;
    const bytes = Buffer.from(whole);
    if (bits < 8) bytes[block] = (bytes[block] ?? 0) & ~(2 ** bits - 1);
    else bytes.fill(0, block, block + bits / 8);
    writeFileSync(path, bytes);
    openAnyImage(path, { format: "qcow2", readonly: true }).close();
    expect(readFileSync(path)).toEqual(bytes);
    const opened = openAnyImage(path, { format: "qcow2" });
    expect(opened.warnings.join()).toContain("was left without all of its refcounts");
    opened.close();
    checkImage(path);
    expect(await contentsOf(path, scratch)).toEqual(contents);
  }
});

test("the code that makes refcounts anew is loaded for the images that need it, and for no other", () => {
  const block = join(import.meta.dir, "../../../../src/block");
  const script = `
    const { prepareImage } = await import("${block}/prepare-image.ts");
    const { qcow2RepairCode } = await import("${block}/qcow2/repair-code.ts");
    await prepareImage("${path}");
    console.log(qcow2RepairCode.loaded === undefined ? "not loaded" : "loaded");`;
  const outcome = (): string => `${Bun.spawnSync([process.execPath, "-e", script], { stdin: "ignore" }).stdout}`.trim();
  for (const kind of [SMALL, { ...SMALL, refcountBits: 1 }, { ...SMALL, options: "compat=0.10" }]) {
    makeImage(kind);
    const whole = readFileSync(path);
    expect(outcome()).toBe("not loaded");
    const uncounted = Buffer.from(whole);
    uncounted.fill(0, u64(whole, u64(whole, 48)), u64(whole, u64(whole, 48)) + 2);
    writeFileSync(path, uncounted);
    expect(outcome()).toBe("loaded");
  }
  makeImage(SMALL);
  const dirty = readFileSync(path);
  dirty[DIRTY_AT] = 1;
  writeFileSync(path, dirty);
  expect(outcome()).toBe("loaded");
});

test("marks of an image in which nothing is wrong are taken back, as qemu-img does, whatever is to be mended", () => {
  for (const kind of ["leaks", "all"] as const) {
    makeImage(SMALL);
    const whole = readFileSync(path);
    const marked = Buffer.from(whole);
    marked[DIRTY_AT] = 3;
    writeFileSync(path, marked);
    repair(kind);
    expect(readFileSync(path)).toEqual(whole);
  }
});

test("nothing is changed where an entry cannot be right, or where clusters are used as two things", () => {
  makeImage(SMALL);
  const whole = readFileSync(path);
  const l1 = u64(whole, 40);
  const l2 = u64(whole, l1);
  const damages: [string, (bytes: Buffer) => void][] = [
    ["outside of the file", (bytes) => bytes.writeBigUInt64BE((1n << 63n) | (1n << 40n), l2)],
    ["where no cluster starts", (bytes) => bytes.writeBigUInt64BE((1n << 63n) | 4608n, l2)],
    ["as L2 table and data", (bytes) => bytes.writeBigUInt64BE((1n << 63n) | BigInt(l2), l2)],
  ];
  for (const [what, change] of damages) {
    const bytes = Buffer.from(whole);
    change(bytes);
    bytes[DIRTY_AT] = 1;
    writeFileSync(path, bytes);
    const found = repair("all");
    expect(found.broken).toBeGreaterThan(0);
    expect(found.examples.join("\n")).toContain(what);
    expect(readFileSync(path)).toEqual(bytes);
    expect(() => openAnyImage(path, { format: "qcow2" })).toThrow(DiskImageError);
    expect(readFileSync(path)).toEqual(bytes);
  }
});

test("an image that QEMU left without its refcounts is put in order when it is opened for writing, and not for reading", async () => {
  const options = "lazy_refcounts=on,cluster_size=4k";
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "4M");
  Bun.spawnSync(["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 2M", "-c", "flush", "-c", "abort", path]);
  const left = readFileSync(path);
  expect((left[DIRTY_AT] ?? 0) & 1).toBe(1);
  expect(findings().corruptions).toBeGreaterThan(100);
  openAnyImage(path, { format: "qcow2", readonly: true }).close();
  expect(readFileSync(path)).toEqual(left);
  const opened = openAnyImage(path, { format: "qcow2" });
  expect(opened.warnings.join()).toContain("was left without all of its refcounts");
  opened.close();
  checkImage(path);
  const contents = await contentsOf(path, scratch);
  expect(contents.subarray(0, 2 << 20)).toEqual(new Uint8Array(2 << 20).fill(5));
});

test("nor is one whose tables would take minutes to go over, while somebody waits for it to be opened", () => {
  // 65536 L1 entries for one and the same full L2 table.
  const entries = 65536;
  qemu("qemu-img", "create", "-q", "-f", "qcow2", path, "1M");
  qemu("qemu-io", "-f", "qcow2", "-c", "write -q 0 1M", path);
  const bytes = readFileSync(path);
  const l1Entry = bytes.readBigUInt64BE(u64(bytes, 40));
  const l2 = Number(l1Entry & 0x00ff_ffff_ffff_fe00n);
  const l2Entry = bytes.readBigUInt64BE(l2);
  for (let i = 0; i < 8192; i++) bytes.writeBigUInt64BE(l2Entry, l2 + 8 * i);
  const l1 = Math.ceil(bytes.length / 65536) * 65536;
  const hostile = Buffer.alloc(l1 + entries * 8);
  bytes.copy(hostile);
  for (let i = 0; i < entries; i++) hostile.writeBigUInt64BE(l1Entry, l1 + 8 * i);
  hostile.writeUInt32BE(entries, 36);
  hostile.writeBigUInt64BE(BigInt(l1), 40);
  hostile[DIRTY_AT] = 1;
  writeFileSync(path, hostile);
  expect(() => openAnyImage(path, { format: "qcow2" })).toThrow("cloud-hypervisor disk check --repair all");
}, 30_000);
