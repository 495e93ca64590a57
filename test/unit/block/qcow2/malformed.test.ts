import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DiskImageError } from "../../../../src/block/image-error.ts";
import { Random } from "../../random.ts";
import { useBadImage } from "../bad-image.ts";
import { DiskDriver } from "../disk-driver.ts";
import { TestFolder } from "../files.ts";
import { qemu } from "../qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const SIZE = 1 << 20;
const MOST_BYTES = 64 << 20;
/** How many mutants of each kind, as a factor. */
const { CH_QCOW2_MUTANTS } = process.env;
const THOROUGHNESS = Number(CH_QCOW2_MUTANTS ?? 1);

/** Where an image has its data: in clusters, in parts of them, in another file. */
type Kind = "clusters" | "subclusters" | "data file";

/** An image with all that an image can have: data, compressed clusters, zeroes, a snapshot, a backing file. */
function richImage(clusterBytes: number, kind: Kind): Uint8Array {
  const raw = folder.file("base.raw", Buffer.alloc(SIZE, 7));
  const packed = join(folder.path, "packed.qcow2");
  const path = join(folder.path, "rich.qcow2");
  const options = `cluster_size=${clusterBytes},extended_l2=${kind === "subclusters" ? "on" : "off"}`;
  const writes = ["-c", "write -q -P 3 100k 50k", "-c", "write -q -z 300k 128k"];
  if (kind === "data file") {
    const outside = `${options},data_file=${packed}.data`;
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", outside, "-b", raw, "-F", "raw", packed);
    qemu("qemu-io", "-f", "qcow2", ...writes, packed);
  } else {
    qemu("qemu-img", "convert", "-c", "-O", "qcow2", "-o", options, raw, packed);
    qemu("qemu-img", "rebase", "-u", "-b", raw, "-F", "raw", packed);
    qemu("qemu-io", "-f", "qcow2", ...writes, packed);
    qemu("qemu-img", "snapshot", "-c", "one", packed);
    qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 500k 100k", packed);
  }
  Bun.spawnSync(["cp", packed, path]);
  return new Uint8Array(readFileSync(path));
}

const sizeOf = (disk: DiskDriver): number => Math.min(SIZE, disk.image.image.size);

/** Uses an image as a guest might. */
const use = (path: string, readonly: boolean): Promise<"refused" | "used"> =>
  useBadImage(
    path,
    { readonly, backingFiles: true },
    (disk, attempt) => {
      const size = sizeOf(disk);
      for (let at = 0; at < size; at += 65536) attempt(() => disk.read(at, Math.min(65536, size - at)));
    },
    (disk, attempt) => {
      const size = sizeOf(disk);
      const data = new Uint8Array(4096).fill(9);
      for (let at = 0; at + 4096 <= size; at += 50 * 1024 - 512) attempt(() => disk.write(at - (at % 512), data));
      attempt(() => disk.zero(0, Math.min(size, 70 * 1024), true));
      attempt(() => disk.discard(Math.floor(size / 1024) * 512, Math.min(size / 2, 200 * 1024)));
      attempt(() => disk.flush());
    },
  );

describe.each([
  [512, "clusters"],
  [4096, "clusters"],
  [65536, "clusters"],
  [16384, "subclusters"],
  [4096, "data file"],
] as const)("clusters of %d bytes, data in: %s", (clusterBytes, kind) => {
  const path = join(folder.path, `mutant-${clusterBytes}-${kind}.qcow2`);

  /** Uses a mutant, writable and then not. */
  async function tryOut(bytes: Uint8Array): Promise<void> {
    for (const readonly of [false, true]) {
      writeFileSync(path, bytes);
      await use(path, readonly);
      if (readonly) expect(Buffer.compare(readFileSync(path), bytes)).toBe(0);
      else expect(statSync(path).size).toBeLessThan(MOST_BYTES);
    }
  }

  test("the image itself is fine", async () => {
    writeFileSync(path, richImage(clusterBytes, kind));
    expect(await use(path, false)).toBe("used");
    qemu("qemu-img", "check", "-q", "-f", "qcow2", path);
  });

  test(
    "each byte of the header",
    async () => {
      const image = richImage(clusterBytes, kind);
      const random = new Random(clusterBytes);
      for (let at = 0; at < 112; at++)
        for (let i = 0; i < THOROUGHNESS; i++) {
          const mutant = image.slice();
          mutant[at] = random.pick([0, 1, 0x7f, 0xff, random.below(256)]);
          await tryOut(mutant);
        }
    },
    120_000 * THOROUGHNESS,
  );

  test(
    "tables: entries that point anywhere",
    async () => {
      const image = richImage(clusterBytes, kind);
      const random = new Random(clusterBytes);
      const view = new DataView(image.buffer);
      const l1 = Number(view.getBigUint64(40));
      const refcountTable = Number(view.getBigUint64(48));
      const l2 = Number(view.getBigUint64(l1) & 0x00ff_ffff_ffff_fe00n);
      const values = [0n, 1n, 0x200n, 0xffff_ffff_ffff_ffffn, BigInt(l1), BigInt(refcountTable), BigInt(image.length)];
      for (const table of [l1, l2, refcountTable])
        for (let i = 0; i < 8 * THOROUGHNESS; i++) {
          const mutant = image.slice();
          const target = new DataView(mutant.buffer);
          for (let changes = 0; changes < 3; changes++) {
            const at = table + 8 * random.below(i % 2 === 0 ? 4 : 64);
            const flags = BigInt(random.below(4)) << 62n;
            if (at + 8 <= mutant.length) target.setBigUint64(at, (values[random.below(values.length)] ?? 0n) ^ flags);
          }
          await tryOut(mutant);
        }
    },
    120_000 * THOROUGHNESS,
  );

  test(
    "bytes anywhere",
    async () => {
      const image = richImage(clusterBytes, kind);
      const random = new Random(clusterBytes + 1);
      for (let i = 0; i < 12 * THOROUGHNESS; i++) {
        const mutant = image.slice();
        for (let changes = 0; changes < 40; changes++) mutant[random.below(mutant.length)] = random.below(256);
        await tryOut(mutant);
      }
    },
    120_000 * THOROUGHNESS,
  );

  test(
    "cut short",
    async () => {
      const image = richImage(clusterBytes, kind);
      const random = new Random(clusterBytes + 2);
      for (let i = 0; i < 8 * THOROUGHNESS; i++) await tryOut(image.slice(0, random.below(image.length)));
    },
    120_000 * THOROUGHNESS,
  );
});

describe("what an image must not be", () => {
  const create = (...args: readonly string[]): string => {
    const path = join(folder.path, "special.qcow2");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", ...args);
    return path;
  };
  const problem = async (path: string, options: { readonly backingFiles?: boolean } = {}): Promise<string> => {
    try {
      (await DiskDriver.open(path, options))[Symbol.dispose]();
      return "";
    } catch (error) {
      if (!(error instanceof DiskImageError)) throw error;
      return error.message;
    }
  };

  test("made of a backing file without leave, of itself, or of too many", async () => {
    const path = join(folder.path, "special.qcow2");
    const raw = folder.file("below.raw", Buffer.alloc(65536));
    create("-b", raw, "-F", "raw", path);
    expect(await problem(path)).toContain("allow it with backing_files=on");
    expect(await problem(path, { backingFiles: true })).toBe("");
    qemu("qemu-img", "rebase", "-u", "-b", "\x1b[31mred", "-F", "raw", path);
    expect(await problem(path)).toContain("needs the backing file '?[31mred'");
    qemu("qemu-img", "rebase", "-u", "-b", path, "-F", "qcow2", path);
    expect(await problem(path, { backingFiles: true })).toContain("is below itself");
    let below = raw;
    for (let depth = 0; depth < 12; depth++) {
      const next = join(folder.path, `depth-${depth}.qcow2`);
      create("-b", below, "-F", depth === 0 ? "raw" : "qcow2", next);
      const message = await problem(next, { backingFiles: true });
      if (depth < 10) expect(message).toBe("");
      else expect(message).toContain("more than 10 images below it");
      below = next;
    }
  });

  test("dirty, corrupt or made with features that nobody here knows", async () => {
    const path = create(join(folder.path, "special.qcow2"), "1M");
    const mark = (bit: number): void => {
      const bytes = readFileSync(path);
      bytes.writeBigUInt64BE(1n << BigInt(bit), 72);
      writeFileSync(path, bytes);
    };
    mark(0);
    expect(await problem(path)).toBe("");
    mark(1);
    expect(await problem(path)).toContain("is marked as corrupt");
    mark(2);
    expect(await problem(path)).toContain("keeps its data in another file and does not say in which");
    mark(5);
    expect(await problem(path)).toContain("features that are not supported: bit 5");
    mark(63);
    expect(await problem(path)).toContain("features that are not supported: bit 63");
  });
});

test("refcounts of clusters far beyond the end are not passed by one after the other, and the image counts as corrupt", async () => {
  const clusterBytes = 65536;
  const path = join(folder.path, "beyond.qcow2");
  qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", `cluster_size=${clusterBytes}`, path, "1M");
  const image = readFileSync(path);
  const table = Number(image.readBigUInt64BE(48));
  const block = image.readBigUInt64BE(table);
  // One block, of which every refcount is 257, for a million clusters and more.
  for (let i = 0; i < 40; i++) image.writeBigUInt64BE(block, table + 8 * i);
  image.fill(1, Number(block), Number(block) + clusterBytes);
  writeFileSync(path, image);
  {
    using disk = await DiskDriver.open(path);
    expect(() => disk.write(0, new Uint8Array(512))).toThrow(": errno 5");
    expect(disk.read(0, 512)).toEqual(new Uint8Array(512));
  }
  expect(statSync(path).size).toBe(image.length);
  await expect(DiskDriver.open(path)).rejects.toThrow("is marked as corrupt");
});
