import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DiskImageError } from "../../../../src/block/image-error.ts";
import { imageInfo } from "../../../../src/block/image-info.ts";
import { Random } from "../../random.ts";
import { useBadImage } from "../bad-image.ts";
import type { DiskDriver } from "../disk-driver.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { dirtyImage, fixChecksums, HEADERS, MIB, mapOf, REGION_TABLES } from "./corpus.ts";

const folder = new TestFolder("memory");
afterAll(() => folder.remove());
const SIZE = 4 * MIB;
const MOST_BYTES = 64 << 20;
/** The longest that a mutant may take to be refused or used. */
const MOST_MS = 10_000;
/** How many mutants of each kind, as a factor. */
const { CH_VHDX_MUTANTS } = process.env;
const THOROUGHNESS = Number(CH_VHDX_MUTANTS ?? 1);
const STRIDE = 4;
const path = join(folder.path, "mutant.vhdx");
/** An image whose log has to be replayed, and one whose log is empty. */
const image = await dirtyImage(folder.path);
const clean = cleaned(image);
const places = mapOf(image);

/** The image as it is when it was opened and closed. */
function cleaned(dirty: Buffer): Buffer {
  writeFileSync(path, dirty);
  openAnyImage(path, { format: "vhdx" }).close();
  return readFileSync(path);
}

/** Uses an image as a guest might. */
async function use(readonly: boolean): Promise<"refused" | "used"> {
  try {
    imageInfo(path);
  } catch (error) {
    if (!(error instanceof DiskImageError)) throw error;
    return "refused";
  }
  const sizeOf = (disk: DiskDriver): number => Math.min(SIZE, disk.image.image.size);
  return useBadImage(
    path,
    { readonly },
    (disk, attempt) => {
      const size = sizeOf(disk);
      for (let at = 0; at < size; at += MIB / 2) attempt(() => disk.read(at, Math.min(MIB / 2, size - at)));
    },
    (disk, attempt) => {
      const size = sizeOf(disk);
      const data = new Uint8Array(4096).fill(9);
      for (let at = 0; at + 4096 <= size; at += 700 * 1024) attempt(() => disk.write(at, data));
      attempt(() => disk.zero(0, Math.min(size, 70 * 1024), true));
      attempt(() => disk.discard(0, Math.min(size, MIB)));
      attempt(() => disk.flush());
      attempt(() => disk.read(size - 512, 512));
    },
  );
}

/** Uses a mutant, writable and then not. */
async function tryOut(bytes: Buffer): Promise<"refused" | "used"> {
  let outcome: "refused" | "used" = "refused";
  for (const readonly of [false, true]) {
    writeFileSync(path, bytes);
    const start = performance.now();
    outcome = await use(readonly);
    expect(performance.now() - start).toBeLessThan(MOST_MS);
    if (readonly || outcome === "refused") expect(readFileSync(path).equals(bytes)).toBeTrue();
    else expect(statSync(path).blocks * 512).toBeLessThan(MOST_BYTES);
  }
  return outcome;
}

const VALUES = [0, 1, 0x7f, 0x80, 0xff] as const;

/** Tries mutants of bytes in [from, to), most of them with right checksums: every fourth byte, or all when four times as many are asked for. */
async function mutate(random: Random, of: Buffer, ranges: readonly (readonly [number, number])[]): Promise<void> {
  const outcomes = new Set<string>();
  for (const [from, to] of ranges)
    for (let i = 0; i < THOROUGHNESS; i++)
      for (let at = from + (i % STRIDE); at < to; at += STRIDE) {
        const mutant = Buffer.from(of);
        mutant[at] = random.below(2) === 0 ? random.below(256) : random.pick([...VALUES]);
        if (random.below(8) !== 0) fixChecksums(mutant);
        outcomes.add(await tryOut(mutant));
      }
  expect([...outcomes].sort()).toEqual(["refused", "used"]);
}

describe("a malformed image is refused, or read and written without harm", () => {
  const timeout = 60_000 * THOROUGHNESS;

  test("the image itself is fine", async () => {
    expect(await tryOut(image)).toBe("used");
  });

  test(
    "headers",
    () =>
      mutate(
        new Random(1),
        image,
        HEADERS.map((at) => [at, at + 80]),
      ),
    timeout,
  );

  test(
    "region tables, both copies alike",
    async () => {
      const random = new Random(2);
      const [first, second] = REGION_TABLES;
      for (let i = 0; i < THOROUGHNESS; i++)
        for (let at = i % STRIDE; at < 80; at += STRIDE) {
          const mutant = Buffer.from(image);
          mutant[first + at] = random.below(2) === 0 ? random.below(256) : random.pick([...VALUES]);
          mutant.copy(mutant, second, first, first + 65536);
          fixChecksums(mutant);
          await tryOut(mutant);
        }
    },
    timeout,
  );

  test(
    "metadata: table and items",
    () =>
      mutate(new Random(3), clean, [
        [places.metadata, places.metadata + 32 + 5 * 32],
        ...[...places.items.values()].map((at) => [at, at + 8] as const),
      ]),
    timeout,
  );

  test("block table", () => mutate(new Random(4), clean, [[places.bat, places.bat + 40]]), timeout);

  test(
    "log: entry headers, descriptors, data",
    () =>
      mutate(
        new Random(5),
        image,
        [places.log, places.log + (512 << 10)].flatMap((at) => [
          [at, at + 96],
          [at + 4096, at + 4096 + 48],
        ]),
      ),
    timeout,
  );

  test(
    "log: numbers that point anywhere",
    async () => {
      const random = new Random(6);
      const values = [
        0n,
        4096n,
        BigInt(MIB),
        BigInt(places.bat),
        BigInt(places.log),
        2n ** 40n,
        2n ** 63n,
        2n ** 64n - 1n,
      ];
      for (let i = 0; i < 40 * THOROUGHNESS; i++) {
        const mutant = Buffer.from(image);
        for (const at of [places.log, places.log + (512 << 10)]) {
          const value = values[random.below(values.length)] ?? 0n;
          // Of the entry: flushed and last file offset. Of its descriptor: offset, and a length for zeroes.
          const field = [48, 56, 64 + 16, 64 + 8][random.below(4)] ?? 48;
          if (random.below(2) === 0) {
            mutant.write("zero", at + 64);
            mutant.writeUInt32LE(4096, at + 8);
          }
          mutant.writeBigUInt64LE(value, at + field);
        }
        fixChecksums(mutant);
        await tryOut(mutant);
      }
    },
    timeout,
  );

  test(
    "bytes anywhere",
    async () => {
      const random = new Random(7);
      const parts = [0, ...HEADERS, ...REGION_TABLES, places.log, places.bat, places.metadata, places.metadata + 65536];
      for (let i = 0; i < 20 * THOROUGHNESS; i++) {
        const mutant = Buffer.from(image);
        for (let changes = 0; changes < 12; changes++)
          mutant[(parts[random.below(parts.length)] ?? 0) + random.below(256)] = random.below(256);
        fixChecksums(mutant);
        await tryOut(mutant);
      }
    },
    timeout,
  );

  test(
    "cut short",
    async () => {
      const random = new Random(8);
      for (let i = 0; i < 20 * THOROUGHNESS; i++)
        await tryOut(image.subarray(0, random.below(2) === 0 ? random.below(image.length) : MIB * random.below(10)));
    },
    timeout,
  );
});

test("a log full of entries that claim to be long is looked through in no time", async () => {
  const mutant = Buffer.from(image);
  const entry = Buffer.from(mutant.subarray(places.log, places.log + 4096));
  for (let at = 0; at < MIB; at += 4096) {
    entry.writeUInt32LE(MIB - at, 8);
    entry.writeUInt32LE((MIB - at) / 4096 - 1, 24);
    entry.copy(mutant, places.log + at);
  }
  expect(await tryOut(mutant)).toBe("refused");
});
