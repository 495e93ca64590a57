import { describe, expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import {
  type PayloadFormat,
  payloadFormat,
  unpackPayload,
} from "../../../../../src/machine/x86_64/loader/unpack/payload.ts";
import { UnpackError } from "../../../../../src/machine/x86_64/loader/unpack/unpack-error.ts";
import { kernelLike, lz4Legacy, pvhKernel, random, randomBytes } from "./images.ts";
import xzStreams from "./xz-streams.json" with { type: "json" };

/** Streams that `xz` 5.4.1 wrote with the options beside them. */
const xz = (name: keyof typeof xzStreams): Buffer => Buffer.from(xzStreams[name].base64, "base64");

function repeat(unit: Uint8Array, count: number): Uint8Array {
  const bytes = new Uint8Array(unit.length * count);
  for (let i = 0; i < count; i++) bytes.set(unit, i * unit.length);
  return bytes;
}

/** The unpacked bytes, or the error. */
async function unpack(format: PayloadFormat, data: Uint8Array, size: number): Promise<Buffer | Error> {
  try {
    using unpacked = await unpackPayload(format, data, size);
    return Buffer.from(unpacked.bytes);
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
}

const SAMPLE = kernelLike(7, 20_000);
const PACKED: readonly (readonly [PayloadFormat, Uint8Array, Uint8Array])[] = [
  ["gzip", gzipSync(SAMPLE), SAMPLE],
  ["zstd", zstdCompressSync(SAMPLE), SAMPLE],
  ["lz4", lz4Legacy(SAMPLE), SAMPLE],
  ["xz", xz("branches"), kernelLike(1, 3000)],
];

describe("round trips", () => {
  test.each([
    ["gzip", gzipSync(SAMPLE, { level: 9 }), SAMPLE],
    ["zstd", zstdCompressSync(SAMPLE), SAMPLE],
    ["lz4", lz4Legacy(SAMPLE), SAMPLE],
    ["lz4", lz4Legacy(randomBytes(8, 5000)), randomBytes(8, 5000)],
    ["lz4", lz4Legacy(new Uint8Array(100_000)), new Uint8Array(100_000)],
    ["xz", xz("branches"), kernelLike(1, 3000)],
    ["xz", xz("kernel"), pvhKernel(kernelLike(2, 1500))],
    ["xz", xz("long"), repeat(kernelLike(3, 500), 10_000)],
    ["xz", xz("incompressible"), randomBytes(4, 300)],
    ["xz", xz("blocks"), kernelLike(5, 1200)],
  ] as const)("%s, case %#", async (format, packed, plain) => {
    expect(payloadFormat(packed)).toBe(format);
    expect(await unpack(format, packed, plain.length)).toEqual(Buffer.from(plain));
  });

  test("an LZ4 frame of two blocks", async () => {
    const plain = repeat(kernelLike(9, 4096), 2100);
    expect(plain.length).toBeGreaterThan(8 << 20);
    expect(await unpack("lz4", lz4Legacy(plain), plain.length)).toEqual(Buffer.from(plain));
  });
});

describe("formats", () => {
  test.each([
    ["bzip2", [0x42, 0x5a, 0x68]],
    ["lzma", [0x5d, 0, 0, 0]],
    ["lzo", [0x89, 0x4c, 0x5a, 0x4f, 0, 0x0d]],
    ["an ordinary LZ4 frame", [0x04, 0x22, 0x4d, 0x18]],
    ["nothing", []],
    ["half a magic number", [0xfd, 0x37, 0x7a]],
  ] as const)("%s is not one of them", (_, head) => {
    expect(payloadFormat(Uint8Array.from(head))).toBeUndefined();
  });
});

describe("bad data", () => {
  test.each(PACKED)("%s of another size than it should have", async (format, packed, plain) => {
    expect(await unpack(format, packed, plain.length + 1)).toBeInstanceOf(UnpackError);
    expect(await unpack(format, packed, plain.length - 1)).toBeInstanceOf(UnpackError);
    expect(await unpack(format, new Uint8Array(0), plain.length)).toBeInstanceOf(UnpackError);
  });

  test.each(PACKED)("%s, cut off anywhere", async (format, packed, plain) => {
    const next = random(10);
    for (let i = 0; i < 50; i++) {
      const length = next() % (packed.length - 32);
      expect(await unpack(format, packed.subarray(0, length), plain.length)).toBeInstanceOf(UnpackError);
    }
  });

  test.each(PACKED)("%s with bits flipped: an error, or the right size", async (format, packed, plain) => {
    const next = random(11);
    let errors = 0;
    for (let i = 0; i < 200; i++) {
      const damaged = Uint8Array.from(packed);
      const at = next() % damaged.length;
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (next() % 8));
      const result = await unpack(format, damaged, plain.length);
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(UnpackError);
        errors++;
      } else {
        expect(result.length).toBe(plain.length);
      }
    }
    expect(errors).toBeGreaterThan(0);
  });

  test.each(PACKED)("%s of random bytes behind the right beginning", async (format, packed) => {
    for (let seed = 0; seed < 100; seed++) {
      const noise = randomBytes(100 + seed, 400);
      noise.set(packed.subarray(0, 6 + (seed % 40)));
      const result = await unpack(format, noise, 100_000);
      if (result instanceof Error) expect(result).toBeInstanceOf(UnpackError);
      else expect(result.length).toBe(100_000);
    }
  });

  test.each(["gzip", "zstd"] as const)("a %s bomb stops at the size it claimed", async (format) => {
    const zeros = new Uint8Array(64 << 20);
    const bomb = format === "gzip" ? gzipSync(zeros) : zstdCompressSync(zeros);
    expect(await unpack(format, bomb, 4096)).toBeInstanceOf(UnpackError);
  });

  test("an LZ4 bomb stops at the size it claimed", async () => {
    const result = await unpack("lz4", lz4Legacy(new Uint8Array(1 << 20)), 4096);
    expect(result).toBeInstanceOf(UnpackError);
  });

  test.each([
    ["an integrity check that kernels do not use", "crc64"],
    ["a filter for another architecture", "arm"],
  ] as const)("xz with %s", async (_, name) => {
    const result = await unpack("xz", xz(name), 8);
    expect(result).toBeInstanceOf(UnpackError);
  });

  test("xz whose checksum differs", async () => {
    const damaged = xz("branches");
    // The footer says how large the index before it is, and the checksum of the last block is in front of that.
    const indexSize = (damaged.readUInt32LE(damaged.length - 8) + 1) * 4;
    const at = damaged.length - 12 - indexSize - 4;
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    expect(String(await unpack("xz", damaged, 3000))).toContain("a block's checksum differs");
  });

  test("messages name the format and the place", async () => {
    const zeroOffset = Buffer.from("02214c18" + "06000000" + "10" + "41" + "0000" + "0000", "hex");
    expect(String(await unpack("lz4", zeroOffset, 100))).toBe(
      "UnpackError: lz4: a match before its block at offset 12",
    );
  });
});
