import { afterAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { imageInfo } from "../../../../src/block/image-info.ts";
import { checkImage } from "../../../../src/cli/disk/check.ts";
import { checkReport } from "../../../../src/cli/disk/check-report.ts";
import { REPAIRS } from "../../../../src/cli/disk/commands.ts";
import { openAnyImage, TestFolder } from "../../block/files.ts";
import { qemu } from "../../block/qemu.ts";
import { dirtyImage, mapOf, REGION_TABLES } from "../../block/vhdx/corpus.ts";
import { logEntry, madeImage, SECTOR, type Update } from "../../block/vhdx/log-entries.ts";
import { Random } from "../../random.ts";

const folder = new TestFolder("memory");
afterAll(() => folder.remove());
const MIB = 1 << 20;
const options = { signal: new AbortController().signal, progress: () => undefined };

/** What QEMU finds. */
function qemuFindings(path: string): { readonly corruptions: number; readonly leaks: number } {
  const { stdout } = Bun.spawnSync(["qemu-img", "check", "--output=json", "-f", "qcow2", path], { stdin: "ignore" });
  const { corruptions = 0, leaks = 0 } = JSON.parse(`${stdout}`) as { corruptions?: number; leaks?: number };
  return { corruptions, leaks };
}

let made = 0;
function image(created: string, ...commands: readonly string[]): string {
  const path = join(folder.path, `${made++}.qcow2`);
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", created, path, "8M");
  qemu("qemu-io", "-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), path);
  return path;
}

const KINDS = [
  "cluster_size=512",
  "cluster_size=64k",
  "cluster_size=2M",
  "compat=0.10,cluster_size=4k",
  "cluster_size=16k,extended_l2=on",
].concat([1, 2, 4, 8, 32, 64].map((bits) => `cluster_size=4k,refcount_bits=${bits}`));

for (const kind of KINDS)
  test(`nothing is wrong with what QEMU made: ${kind}`, async () => {
    const path = image(kind, "write -P 1 0 3M", "discard 1M 1M", "write -z 5M 64k");
    if (!kind.endsWith("bits=1")) {
      qemu("qemu-img", "snapshot", "-c", "first", path);
      qemu("qemu-io", "-f", "qcow2", "-c", "write -P 2 512k 1M", path);
    }
    for (const window of [undefined, 500])
      expect((await checkImage(path, { ...options, ...(window !== undefined && { window }) })).findings).toEqual({
        corruptions: 0,
        broken: 0,
        leaks: 0,
        examples: [],
        isDirty: false,
        isCorrupt: false,
      });
  });

test("compressed clusters share clusters of the file", async () => {
  const raw = folder.file("raw", new Uint8Array(4 * MIB).fill(7));
  const path = join(folder.path, "compressed.qcow2");
  qemu("qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", raw, path);
  expect((await checkImage(path, options)).findings).toMatchObject({ corruptions: 0, leaks: 0 });
});

test("damage of tables and refcounts is found where QEMU finds it", async () => {
  const random = new Random(11);
  const source = readFileSync(image("cluster_size=4k", "write -P 1 0 2M", "write -P 2 4M 1M"));
  const path = join(folder.path, "damaged.qcow2");
  const header = 4096;
  const offsets = [40, 48].map((field) => Number(source.readBigUInt64BE(field)));
  const [l1 = 0, refcountTable = 0] = offsets;
  const l2 = Number(source.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
  const block = Number(source.readBigUInt64BE(refcountTable));
  expect(l1).toBeGreaterThanOrEqual(header);
  let wrong = 0;
  for (let round = 0; round < 60; round++) {
    const bytes = Buffer.from(source);
    const [table = 0, length = 0] = [[l2, 4096] as const, [block, 1200] as const][round % 2] ?? [];
    const at = table + random.below(length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    writeFileSync(path, bytes);
    const theirs = qemuFindings(path);
    const ours = (await checkImage(path, options)).findings;
    // What an entry that cannot be right would refer to is lost for us, while QEMU counts where it may have been meant to.
    const isCorrupt = theirs.corruptions > 0;
    expect({ round, at, corrupt: (ours?.corruptions ?? 0) > 0, leaks: isCorrupt || (ours?.leaks ?? 0) > 0 }).toEqual({
      round,
      at,
      corrupt: isCorrupt,
      leaks: isCorrupt || theirs.leaks > 0,
    });
    if (theirs.corruptions + theirs.leaks > 0) wrong++;
    const small = (await checkImage(path, { ...options, window: 97 })).findings;
    expect({ corruptions: small?.corruptions, leaks: small?.leaks }).toEqual({
      corruptions: ours?.corruptions,
      leaks: ours?.leaks,
    });
  }
  expect(wrong).toBeGreaterThan(40);
});

test("damage of subclusters' bits is found where QEMU finds it", async () => {
  const source = readFileSync(image("cluster_size=16k,extended_l2=on", "write -P 1 0 2M", "write -z 3M 1k"));
  const path = join(folder.path, "bits.qcow2");
  const l1 = Number(source.readBigUInt64BE(40));
  const l2 = Number(source.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
  const entry = (cluster: number): number => l2 + 16 * cluster;
  for (const [what, at, value, isCorrupt] of [
    ["fewer are allocated", entry(1) + 8, 0xffffn, false],
    ["none of a cluster with a place", entry(1) + 8, 0n, false],
    ["allocated and zeroes", entry(1) + 8, 0x1_0000_ffffn, true],
    ["allocated, without a cluster", entry(300) + 8, 1n, true],
    ["compressed, with bits", entry(1), 1n << 62n, true],
  ] as const) {
    const bytes = Buffer.from(source);
    bytes.writeBigUInt64BE(value, at);
    writeFileSync(path, bytes);
    const ours = (await checkImage(path, options)).findings;
    const theirs = qemuFindings(path).corruptions > 0;
    expect({ what, ours: (ours?.corruptions ?? 0) > 0, theirs }).toEqual({ what, ours: isCorrupt, theirs: isCorrupt });
  }
});

test("entries of a data file are not counted in the image, and have to be where they are on the disk", async () => {
  const name = join(folder.path, "outside");
  const source = readFileSync(image(`cluster_size=4k,data_file=${name}`, "write -P 1 0 2M", "write -z 4M 64k"));
  const path = join(folder.path, "outside.qcow2");
  const l1 = Number(source.readBigUInt64BE(40));
  const l2 = Number(source.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
  const found = async (entry: bigint): Promise<readonly unknown[]> => {
    const bytes = Buffer.from(source);
    bytes.writeBigUInt64BE(entry, l2 + 8);
    writeFileSync(path, bytes);
    const { findings } = await checkImage(path, options);
    return [findings?.corruptions, findings?.leaks, findings?.examples[0]];
  };
  const copied = 1n << 63n;
  expect(await found(copied | 4096n)).toEqual([0, 0, undefined]);
  expect(await found(copied | 8192n)).toEqual([1, 0, expect.stringContaining("in the data file, instead of 4096")]);
  expect(await found(4096n)).toEqual([1, 0, expect.stringContaining("does not say that its cluster is used once")]);
  expect(await found((1n << 62n) | 4096n)).toEqual([1, 0, expect.stringContaining("is compressed, in a data file")]);
});

test("an entry that does not say that its cluster is used once, though it is, is found", async () => {
  const path = image("cluster_size=4k", "write -P 1 0 64k");
  const bytes = readFileSync(path);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
  for (const entry of [l1, l2]) {
    const damaged = Buffer.from(bytes);
    damaged[entry] = (damaged[entry] ?? 0) ^ 0x80;
    writeFileSync(path, damaged);
    expect(qemuFindings(path).corruptions).toBe(1);
    expect((await checkImage(path, options)).findings).toMatchObject({ corruptions: 1, leaks: 0 });
  }
});

test("a format without refcounts is not said to be in order", async () => {
  expect(await checkImage(folder.file("disk.raw", new Uint8Array(4096)), options)).toEqual({
    format: "raw",
    findings: undefined,
    before: undefined,
  });
});

test("a repair says what it has found and what is left, and leaves what is in order alone", async () => {
  const path = image("cluster_size=4k", "write -P 1 0 2M");
  const bytes = readFileSync(path);
  expect(await checkImage(path, { ...options, repair: "all" })).toMatchObject({ before: undefined });
  expect(readFileSync(path)).toEqual(bytes);
  const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
  // A leak, and a cluster whose refcount is too low.
  bytes.writeUInt16BE(1, block + 2 * (bytes.length / 4096 - 1));
  bytes.writeUInt16BE(0, block + 2 * 20);
  const damaged = Buffer.concat([bytes, Buffer.alloc(4096)]);
  damaged.writeUInt16BE(1, block + (2 * bytes.length) / 4096);
  writeFileSync(path, damaged);
  const leaks = await checkImage(path, { ...options, repair: "leaks" });
  expect(leaks.before).toMatchObject({ corruptions: 2, leaks: 1 });
  expect(leaks.findings).toMatchObject({ corruptions: 2, leaks: 0 });
  const all = await checkImage(path, { ...options, repair: "all" });
  expect(all.findings).toMatchObject({ corruptions: 0, leaks: 0, isDirty: false });
  expect(qemuFindings(path)).toEqual({ corruptions: 0, leaks: 0 });
});

test("an image in use is not repaired", async () => {
  const path = image("cluster_size=4k", "write -P 1 0 64k");
  for (const readonly of [false, true]) {
    const user = openAnyImage(path, { format: "qcow2", readonly, lock: "full" });
    try {
      for (const repair of REPAIRS) expect(checkImage(path, { ...options, repair })).rejects.toThrow("is in use");
    } finally {
      user.close();
    }
  }
  expect((await checkImage(path, { ...options, repair: "all" })).findings).toMatchObject({ corruptions: 0 });
});

test("metadata of VHDX and VHD images: in order, damaged, not closed properly", async () => {
  const nothing = { corruptions: 0, broken: 0, leaks: 0, examples: [], isDirty: false, isCorrupt: false };
  for (const [format, driver] of [
    ["vhdx", "vhdx"],
    ["vhd", "vpc"],
  ] as const) {
    const path = join(folder.path, `image.${format}`);
    const shape = format === "vhd" ? ["-o", "subformat=fixed,force_size=on"] : [];
    qemu("qemu-img", "create", "-q", "-f", driver, ...shape, path, "8M");
    expect(await checkImage(path, options)).toEqual({ format, findings: nothing, before: undefined });
    expect(checkImage(path, { ...options, repair: "all" })).rejects.toThrow("only qcow2 images can be repaired");
  }
  const dirty = folder.file("dirty.vhdx", await dirtyImage(folder.path));
  expect((await checkImage(dirty, options)).findings).toEqual({ ...nothing, isDirty: true });

  const path = join(folder.path, "image.vhdx");
  qemu("qemu-io", "-f", "vhdx", "-c", "write -q -P 1 0 8M", path);
  const whole = readFileSync(path);
  const { bat } = mapOf(whole);
  const damages: [string, (bytes: Buffer) => void][] = [
    ["where something else is", (bytes) => bytes.writeBigUInt64LE(BigInt(bat) | 6n, bat)],
    ["cut short", (bytes) => bytes.writeBigUInt64LE((1n << 44n) | 6n, bat)],
    ["region table", (bytes) => bytes.fill(0xff, REGION_TABLES[0], REGION_TABLES[1] + 64)],
  ];
  for (const [problem, damage] of damages) {
    const bytes = Buffer.from(whole);
    damage(bytes);
    writeFileSync(path, bytes);
    const { findings } = await checkImage(path, options);
    expect({ problem, ...findings }).toMatchObject({ problem, corruptions: 1, broken: 1 });
    expect(findings?.examples[0]).toContain(problem);
  }
});

test("a VHDX image with a log to replay is in order, whatever the log changes, and the check says what puts it right", async () => {
  const { image: whole, put, table, withoutSecond, bat } = madeImage(folder.path);
  const block = Number(whole.readBigUInt64LE(bat) & ~7n);
  const elsewhere = Buffer.from(table);
  elsewhere.writeBigUInt64LE(BigInt(bat) | 6n);
  const path = join(folder.path, "log.vhdx");
  const checked = async (...updates: readonly Update[]): Promise<string[]> => {
    put(0, logEntry(1, 0, whole.length, updates));
    writeFileSync(path, whole);
    const { format, findings, before } = await checkImage(path, options);
    if (findings === undefined) throw new Error("no findings");
    expect(readFileSync(path).equals(whole)).toBeTrue();
    expect(findings.isDirty).toBe(findings.corruptions === 0);
    return checkReport({ format, findings, before });
  };
  const data = { offset: block, data: Buffer.alloc(SECTOR, 9) };
  for (const updates of [[{ offset: bat, data: withoutSecond }], [data], [data, { offset: bat, data: table }]]) {
    expect(await checked(...updates)).toEqual([
      "the image was not closed properly: it has a log to replay, which puts it right when it is opened for writing",
      "no other errors were found",
    ]);
    expect(imageInfo(path).diskBytes).toBe(4 * MIB);
    openAnyImage(path, { format: "vhdx" }).close();
    expect((await checkImage(path, options)).findings).toMatchObject({ corruptions: 0, isDirty: false });
  }
  expect(await checked(data, { offset: bat, data: elsewhere })).toEqual([
    expect.stringContaining("where something else is"),
    "1 errors, 0 leaked clusters",
  ]);
});

test("a VHDX image whose log is too large to be kept in memory is not said to be corrupt", async () => {
  const { image: whole, put, bat } = madeImage(folder.path);
  const zeroes = Array.from({ length: 2100 }, () => ({ offset: bat + 10 * SECTOR, data: SECTOR }));
  put(0, logEntry(1, 0, whole.length, zeroes));
  const path = folder.file("large-log.vhdx", whole);
  await expect(checkImage(path, options)).rejects.toThrow("its log is large: open it once for writing");
  openAnyImage(path, { format: "vhdx" }).close();
  expect((await checkImage(path, options)).findings).toMatchObject({ corruptions: 0, isDirty: false });
});
