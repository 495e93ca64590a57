import { describe, expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { Lzma2Decoder } from "../../../../../src/machine/x86_64/loader/unpack/lzma2.ts";
import {
  type PayloadFormat,
  payloadFormat,
  unpackPayload,
} from "../../../../../src/machine/x86_64/loader/unpack/payload.ts";
import { UnpackError } from "../../../../../src/machine/x86_64/loader/unpack/unpack-error.ts";
import { branches, kernelLike, lz4Legacy, pvhKernel, random, randomBytes } from "./images.ts";
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
  ["xz", xz("code"), kernelLike(1, 3000)],
];

describe("round trips", () => {
  test.each([
    ["gzip", gzipSync(SAMPLE, { level: 9 }), SAMPLE],
    ["zstd", zstdCompressSync(SAMPLE), SAMPLE],
    ["lz4", lz4Legacy(SAMPLE), SAMPLE],
    ["lz4", lz4Legacy(randomBytes(8, 5000)), randomBytes(8, 5000)],
    ["lz4", lz4Legacy(new Uint8Array(100_000)), new Uint8Array(100_000)],
    ["xz", xz("code"), kernelLike(1, 3000)],
    ["xz", xz("branches"), branches(12, 2000)],
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
    const result = await unpack(format, bomb, 4096);
    expect(result).toBeInstanceOf(UnpackError);
    expect(result instanceof Error && result.cause).toHaveProperty("code", "ERR_BUFFER_TOO_LARGE");
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
    const damaged = xz("code");
    // The footer says how large the index before it is, and the checksum of the last block is in front of that.
    const indexSize = (damaged.readUInt32LE(damaged.length - 8) + 1) * 4;
    const at = damaged.length - 12 - indexSize - 4;
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    expect(String(await unpack("xz", damaged, 3000))).toContain("a block's checksum differs");
  });

  test("an xz block header whose checksum differs", async () => {
    const damaged = xz("code");
    // Padding: nothing but the checksum covers it.
    expect(damaged[19]).toBe(0);
    damaged[19] = 1;
    expect(String(await unpack("xz", damaged, 3000))).toContain("a block header's checksum differs");
  });
});

describe("LZ4 sequences that break the rules", () => {
  /** Blocks as hex digits, each behind its size. */
  function frame(...blocks: string[]): Buffer {
    const parts = blocks.map((block) => {
      const size = Buffer.alloc(4);
      size.writeUInt32LE(block.length / 2);
      return Buffer.concat([size, Buffer.from(block, "hex")]);
    });
    return Buffer.concat([Buffer.from("02214c18", "hex"), ...parts]);
  }

  test("a frame that keeps them", async () => {
    expect(String(await unpack("lz4", frame("104101001041", "2042430200" + "10" + "44"), 5 + 1 + 6 + 1))).toBe(
      `${"A".repeat(5)}ABCBCBCD`,
    );
  });

  test.each([
    ["distance 0", ["10410000" + "1041"], 6, "a match before its block at offset 12"],
    ["a distance to before the start", ["10410200" + "1041"], 6, "a match before its block at offset 12"],
    [
      "a distance into the block before",
      ["2041420100" + "1041", "00" + "0100" + "1041"],
      16,
      "a match before its block",
    ],
    ["a match over the end", ["10410100" + "1041"], 4, "a match does not fit"],
    ["literals over the end", ["20414210"], 1, "literals do not fit"],
    ["literals over the end of the block", ["3041"], 10, "literals do not fit"],
    ["a long run of literals over the end of the block", ["f0ff0041"], 1000, "literals do not fit"],
    ["a literal length over the end of the block", ["f0ff"], 1000, "a literal length runs over"],
    ["a match length over the end of the block", ["1f410100ff"], 1000, "a match length runs over"],
    ["half an offset", ["104101"], 10, "a match offset runs over"],
    ["no block", [], 10, "the data ends early"],
    ["an empty block", [""], 10, "an empty block"],
  ] as const)("%s", async (_, blocks, size, message) => {
    const result = await unpack("lz4", frame(...blocks), size);
    expect(result).toBeInstanceOf(UnpackError);
    expect(String(result)).toContain(message);
  });

  test("a block larger than the data", async () => {
    expect(String(await unpack("lz4", Buffer.from("02214c18ffffff7f00", "hex"), 10))).toContain("does not fit");
  });
});

describe("LZMA2 chunks that break the rules", () => {
  /** Properties lc=3, lp=0, pb=2, then bits that are all 1: a repeated match, as long as they come. */
  const ONES = "5d" + "00fffffffe" + "ffffffffffffffffffff";
  const packedSize = "000e";

  /** Bits that are all 0: a literal 0. */
  const ZERO_BYTE = "5d000000000000";

  test.each([
    ["no dictionary", "02" + "0000" + "41", "a chunk without a dictionary"],
    ["LZMA without a dictionary", `c0${"0000"}${packedSize}${ONES}`, "a chunk without a dictionary"],
    ["no properties", "01" + "0000" + "41" + "80" + "0000" + "0004" + "0000000000", "a chunk without properties"],
    [
      "a new state without properties",
      "01" + "0000" + "41" + "a0" + "0000" + "0004" + "0000000000",
      "without properties",
    ],
    [
      "the properties of before a new dictionary",
      `e000000005${ZERO_BYTE}010000418000000005000000000000`,
      "a chunk without properties",
    ],
    ["impossible properties", "e0" + "0000" + "0004" + "e1" + "0000000000", "impossible properties"],
    ["too many literal bits", "e0" + "0000" + "0004" + "0d" + "0000000000", "impossible properties"],
    ["an unknown kind", "03", "an unknown kind of chunk"],
    ["more than there is room for", "01" + "ffff", "more data than there should be"],
    ["bytes that are not there", "01" + "0004" + "41", "the data ends early"],
    ["a chunk that is not there", `e0${"0000"}00ff${ONES}`, "the data ends early"],
    ["half a header", "e00000", "the data ends early"],
    ["no end", "01" + "0000" + "41", "the data ends early"],
    ["a bad beginning", "e0" + "0000" + "0004" + "5d" + "0100000000", "a bad chunk"],
    ["a chunk of one byte", "e0" + "0000" + "0000" + "5d" + "00", "a bad chunk"],
    ["a match before the data", `e0${"0000"}${packedSize}${ONES}`, "a match before the data"],
    ["a repeated byte before the data", `e000000007${"5d00c8000000"}00000000`, "a match before the data"],
    ["a match over the end", `01${"0000"}41c0${"0000"}${packedSize}${ONES}`, "a match over the end of its chunk"],
  ])("%s", (_, hex, message) => {
    const data = Buffer.from(hex, "hex");
    expect(() => new Lzma2Decoder(new Uint8Array(400)).unpack(data, 0, data.length)).toThrow(message);
  });

  test("chunks that keep them", () => {
    const data = Buffer.from(`01000141420200004300e000000005${ZERO_BYTE}0100004400`, "hex");
    const output = new Uint8Array(5).fill(0xff);
    const decoder = new Lzma2Decoder(output);
    expect(decoder.unpack(data, 0, data.length)).toBe(10);
    expect(decoder.to).toBe(3);
    expect(decoder.unpack(data, 10, data.length)).toBe(data.length);
    expect([decoder.to, Buffer.from(output).toString()]).toEqual([5, "ABC\0D"]);
  });
});
