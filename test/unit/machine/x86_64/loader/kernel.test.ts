import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { BootSpaceError, KernelImageError } from "../../../../../src/machine/x86_64/loader/errors.ts";
import { loadKernel } from "../../../../../src/machine/x86_64/loader/kernel.ts";
import type { PayloadFormat } from "../../../../../src/machine/x86_64/loader/unpack/payload.ts";
import {
  bzImage,
  type ElfSegment,
  type ElfSpec,
  elf,
  kernelLike,
  lz4Legacy,
  note,
  PT_LOAD,
  PT_NOTE,
  pvhKernel,
  pvhNote,
  random,
  randomBytes,
  withSize,
} from "./images.ts";
import { TestRam } from "./ram.ts";
import xzStreams from "./xz-streams.json" with { type: "json" };

const MIB = 2 ** 20;
const ALL_FORMATS: ReadonlySet<PayloadFormat> = new Set(["gzip", "zstd", "lz4", "xz"]);

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "kernel-test-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

let files = 0;
function file(bytes: Uint8Array): string {
  const path = join(dir, `image-${files++}`);
  writeFileSync(path, bytes);
  return path;
}

async function load(bytes: Uint8Array, ram = new TestRam(4 * MIB), unpack = ALL_FORMATS) {
  const messages: string[] = [];
  const kernel = await loadKernel(file(bytes), "kernel", ram, { unpack, debug: (message) => messages.push(message) });
  return { kernel, ram, messages };
}

/** The messages of an error and its causes. */
function chain(error: unknown): string {
  return error instanceof Error ? `${error.message}\n${chain(error.cause)}` : "";
}

/** The error of an image that cannot be loaded, which must leave RAM alone. */
async function failure(bytes: Uint8Array, ram = new TestRam(4 * MIB)): Promise<Error> {
  try {
    await load(bytes, ram);
  } catch (error) {
    expect(ram.written).toBe(0);
    if (error instanceof Error) return error;
  }
  throw new Error("the image was loaded");
}

const CODE: ElfSegment = { type: PT_LOAD, paddr: 0x10_0000, data: Buffer.from("code of a kernel") };
const NOTE: ElfSegment = { type: PT_NOTE, data: pvhNote(0x10_0000) };

describe("PVH ELF", () => {
  test("segments go to their physical addresses", async () => {
    const { kernel, ram } = await load(pvhKernel());
    expect(kernel).toEqual({
      protocol: "pvh",
      entry: 0x10_0010 as typeof kernel.entry,
      occupied: [
        { base: 0x10_0000 as typeof kernel.entry, length: 0x1010 },
        { base: 0x20_0000 as typeof kernel.entry, length: 16 },
      ],
    });
    expect(ram.text(0x10_0000, 18)).toBe("code of a kernel\0\0");
    expect(ram.text(0x20_0000, 18)).toBe("data of a kernel\0\0");
    expect(ram.written).toBe(32);
  });

  test.each([
    ["a descriptor of 4 bytes", [pvhNote(0x10_0004, 4)], 0x10_0004],
    ["an odd name before it", [note("odd!!\0", 18, Buffer.alloc(5)), pvhNote(0x10_0004)], 0x10_0004],
    ["the first of two", [pvhNote(0x10_0004), pvhNote(0x10_0008)], 0x10_0004],
    ["another note of Xen before it", [note("Xen\0", 5, Buffer.from("xen-3.0\0")), pvhNote(0x10_0008)], 0x10_0008],
    ["bytes after the last note", [pvhNote(0x10_0008), Buffer.alloc(8)], 0x10_0008],
  ] as const)("the entry point is found: %s", async (_, notes, entry) => {
    const { kernel } = await load(elf({ segments: [CODE, { type: PT_NOTE, data: Buffer.concat([...notes]) }] }));
    expect(kernel.entry as number).toBe(entry);
  });

  test("the entry point is found in the second of two areas of notes", async () => {
    const other = { type: PT_NOTE, data: note("GNU\0", 3, Buffer.alloc(4)) };
    expect((await load(elf({ segments: [other, CODE, NOTE] }))).kernel.entry as number).toBe(0x10_0000);
  });

  test("class, machine and type are not looked at; segments without bytes are not loaded", async () => {
    const image = elf({
      segments: [CODE, NOTE, { type: PT_LOAD, paddr: 0x20_0000, offset: 2 ** 40, filesz: 0, memsz: 4096 }],
    });
    image.writeUInt8(1, 4);
    image.writeUInt16LE(3, 16);
    image.writeUInt16LE(0xffff, 18);
    expect((await load(image)).ram.written).toBe(16);
  });

  test("a segment takes up what is copied, whatever its p_memsz says", async () => {
    const { kernel } = await load(elf({ segments: [{ ...CODE, memsz: 1 }, NOTE] }));
    expect(kernel.occupied).toEqual([{ base: 0x10_0000 as typeof kernel.entry, length: 16 }]);
  });

  test("segments may adjoin, in any order", async () => {
    const before: ElfSegment = { type: PT_LOAD, paddr: 0x10_0000 - 4, data: Buffer.from("abcd") };
    expect((await load(elf({ segments: [CODE, NOTE, before] }))).ram.text(0x10_0000 - 4, 8)).toBe("abcdcode");
  });

  test.each<[string, Partial<ElfSpec>, string]>([
    ["no note", { segments: [CODE] }, "missing PVH header"],
    ["only a note", { segments: [NOTE] }, "nothing to load"],
    ["an entry point below 1 MiB", { entry: 0xf_ffff }, "below 1 MiB"],
    ["program headers of another size", { phentsize: 32 }, "32 bytes"],
    ["program headers inside the header", { phoff: 0 }, "outside the file"],
    ["program headers behind the file", { phoff: 1 << 20 }, "outside the file"],
    ["program headers at the end of the address space", { phoff: 2n ** 64n - 56n }, "outside the file"],
    ["more program headers than there are", { phnum: 0xffff }, "outside the file"],
    ["no program headers", { phnum: 0 }, "nothing to load"],
    ["a segment behind the file", { segments: [NOTE, { ...CODE, offset: 1 << 20 }] }, "outside the file"],
    ["a segment that is cut off", { segments: [NOTE, { ...CODE, filesz: 17 }] }, "outside the file"],
    ["a huge p_filesz", { segments: [NOTE, { ...CODE, filesz: 2n ** 63n }] }, "outside the file"],
    ["the largest p_offset", { segments: [NOTE, { ...CODE, offset: 2n ** 64n - 1n }] }, "outside the file"],
    ["p_paddr that wraps", { segments: [NOTE, { ...CODE, paddr: 2n ** 64n - 8n }] }, "beyond the address space"],
    ["overlapping segments", { segments: [NOTE, CODE, { ...CODE, paddr: 0x10_000f }] }, "overlap at 0x10000f"],
    ["the same segment twice", { segments: [NOTE, CODE, CODE] }, "overlap"],
    [
      "overlapping zeros",
      { segments: [NOTE, { ...CODE, memsz: 0x2000 }, { ...CODE, paddr: 0x10_1000 }] },
      "overlap at 0x101000",
    ],
    ["a note behind the file", { segments: [CODE, { ...NOTE, offset: 1 << 20 }] }, "notes lie outside"],
    ["a huge note area", { segments: [CODE, { ...NOTE, filesz: 2n ** 64n - 1n }] }, "notes lie outside"],
    [
      "a note with a huge name",
      { segments: [CODE, { type: PT_NOTE, data: note("Xen\0", 18, Buffer.alloc(8), 0xffff_ffff) }] },
      "runs over",
    ],
    [
      "a note with a huge descriptor",
      { segments: [CODE, { type: PT_NOTE, data: note("Xen\0", 18, Buffer.alloc(8), 4, 0xffff_fffc) }] },
      "runs over",
    ],
    [
      "a note too short for an entry point",
      { segments: [CODE, { type: PT_NOTE, data: note("Xen\0", 18, Buffer.alloc(2)) }] },
      "too short",
    ],
    ["half a note", { segments: [CODE, { type: PT_NOTE, data: Buffer.alloc(11) }] }, "missing PVH header"],
    [
      "an entry point outside RAM",
      { segments: [CODE, { type: PT_NOTE, data: pvhNote(0xc000_0000) }] },
      "outside guest RAM",
    ],
  ])("%s is refused", async (_, spec, message) => {
    const error = await failure(elf({ segments: [CODE, NOTE], ...spec }));
    expect(error).toBeInstanceOf(KernelImageError);
    expect(error.message).toContain("give --kernel an ELF file with a PVH note or a bzImage");
    expect(chain(error)).toContain(message);
  });

  test.each<[string, ElfSegment]>([
    ["a segment behind RAM", { ...CODE, paddr: 4 * MIB }],
    ["a segment over the end of RAM", { ...CODE, paddr: 4 * MIB - 8 }],
    ["a huge p_memsz", { ...CODE, memsz: 2n ** 45n }],
    ["p_memsz one byte too large", { ...CODE, memsz: 3 * MIB + 1 }],
    ["p_paddr in the hole", { ...CODE, paddr: 0xc000_0000 }],
  ])("%s does not fit", async (_, segment) => {
    const error = await failure(elf({ segments: [segment, { ...NOTE }] }));
    expect(error).toBeInstanceOf(BootSpaceError);
    expect(error.message).toContain("give --memory a larger size");
  });

  test("not little-endian", async () => {
    const image = pvhKernel();
    image.writeUInt8(2, 5);
    expect(chain(await failure(image))).toContain("not a little-endian ELF file");
  });

  test("many areas with many notes end in an error soon", async () => {
    const area = { type: PT_NOTE, data: new Uint8Array(0), offset: 64, filesz: 3_000_000 };
    const image = Buffer.concat([
      elf({ segments: [CODE, ...Array.from({ length: 1000 }, () => area)] }),
      Buffer.alloc(4 * MIB),
    ]);
    expect(chain(await failure(image))).toContain("bytes of notes");
  });
});

describe("bzImage by the boot protocol", () => {
  const nothing: ReadonlySet<PayloadFormat> = new Set();

  test("code goes to code32_start and the header is kept", async () => {
    const image = bzImage({ setupSects: 3, code32Start: 0x11_0000 });
    const { kernel, ram } = await load(image, new TestRam(4 * MIB), nothing);
    if (kernel.protocol !== "linux") throw new Error("not by the boot protocol");
    expect(kernel.entry as number).toBe(0x11_0000);
    expect(Buffer.from(kernel.setupHeader)).toEqual(Buffer.from(image.subarray(0x1f1, 0x1f1 + 123)));
    expect(ram.text(0x11_0000, 20)).toBe("protected-mode code\0");
    expect(ram.written).toBe(19);
    expect(kernel.occupied).toEqual([{ base: kernel.entry, length: 19 }]);
  });

  test("setup_sects of 0 means 4", async () => {
    expect((await load(bzImage({ setupSects: 0 }))).ram.text(0x10_0000, 19)).toBe("protected-mode code");
  });

  test.each([
    ["an old protocol", { version: 0x1ff }, "older than 2.00"],
    ["a zImage", { loadflags: 0x80 }, "zImage"],
    ["code below 1 MiB", { code32Start: 0xf_ffff }, "below 1 MiB"],
    ["no code", { code: new Uint8Array(0) }, "ends before its code"],
  ] as const)("%s is refused", async (_, spec, message) => {
    const error = await failure(bzImage(spec));
    expect(error).toBeInstanceOf(KernelImageError);
    expect(chain(error)).toContain(message);
  });

  test("a header that claims more setup sectors than there are is refused", async () => {
    const image = bzImage();
    image.writeUInt8(255, 0x1f1);
    expect(chain(await failure(image))).toContain("ends before its code");
  });

  test("a header that is cut off is refused", async () => {
    for (const length of [0x206, 0x250, 0x26b])
      expect(chain(await failure(bzImage().subarray(0, length)))).toContain("header is cut off");
  });

  test.each([
    ["larger than RAM", { code: new Uint8Array(4 * MIB) }],
    ["at the end of RAM", { code32Start: 4 * MIB - 1 }],
    ["at the end of 32 bits", { code32Start: 0xffff_ffff }],
  ] as const)("%s does not fit", async (_, spec) => {
    expect(await failure(bzImage(spec))).toBeInstanceOf(BootSpaceError);
  });

  test("an ELF file that is a bzImage as well is one where its ELF part is no use", async () => {
    const image = bzImage();
    image.set(elf({ segments: [CODE] }).subarray(0, 0x1f0));
    expect((await load(image)).kernel.protocol).toBe("linux");
  });
});

describe("the kernel inside a bzImage", () => {
  const vmlinux = pvhKernel(kernelLike(20, 5000));
  const xzVmlinux = Buffer.from(xzStreams.kernel.base64, "base64");
  const payloads: readonly (readonly [PayloadFormat, Uint8Array, Buffer])[] = [
    ["gzip", gzipSync(vmlinux), vmlinux],
    ["zstd", withSize(zstdCompressSync(vmlinux), vmlinux.length), vmlinux],
    ["lz4", withSize(lz4Legacy(vmlinux), vmlinux.length), vmlinux],
    ["xz", withSize(xzVmlinux, pvhKernel(kernelLike(2, 1500)).length), pvhKernel(kernelLike(2, 1500))],
  ];

  test.each(payloads)("%s is unpacked and entered by PVH", async (_, payload, plain) => {
    const { kernel, ram, messages } = await load(bzImage({ payload }));
    const { ram: expected } = await load(plain);
    expect(messages).toEqual([]);
    expect(kernel.protocol).toBe("pvh");
    expect(kernel.entry as number).toBe(0x10_0010);
    expect(Buffer.compare(ram.bytes, expected.bytes)).toBe(0);
  });

  test.each(payloads)("%s is left to itself where it is not asked for", async (format, payload) => {
    const others = new Set([...ALL_FORMATS].filter((other) => other !== format));
    const { kernel, messages } = await load(bzImage({ payload }), new TestRam(4 * MIB), others);
    expect(kernel.protocol).toBe("linux");
    expect(messages).toEqual([`the kernel unpacks itself: ${format} is left to it`]);
  });

  const packed = withSize(zstdCompressSync(vmlinux), vmlinux.length);
  const noPvh = elf({ segments: [CODE] });
  const bomb = new Uint8Array(2 * MIB);
  test.each([
    ["no field for it", { payload: packed, version: 0x209 }, "names no payload"],
    ["payload_offset behind the file", { payload: packed, payloadOffset: 0xffff_ff00 }, "names no payload"],
    ["payload_length behind the file", { payload: packed, payloadLength: 0xffff_ff00 }, "names no payload"],
    ["payload_length of 0", { payload: packed, payloadLength: 0 }, "names no payload"],
    ["payload_length of 1", { payload: packed, payloadLength: 1 }, "a payload of 1 bytes"],
    ["payload_offset beside it", { payload: packed, payloadOffset: 3, payloadLength: 100 }, "not known here"],
    ["payload_length too small", { payload: packed, payloadLength: 100 }, "an unpacked size of"],
    ["init_size smaller than it claims to be", { payload: packed, initSize: 100 }, "an unpacked size of"],
    ["an unpacked size of 0", { payload: withSize(packed.subarray(0, -4), 0) }, "an unpacked size of 0 bytes"],
    [
      "a huge unpacked size",
      { payload: withSize(packed.subarray(0, -4), 0xffff_ffff), initSize: 0xffff_ffff },
      "an unpacked size of 4294967295 bytes",
    ],
    ["an unpacked size too small", { payload: withSize(packed.subarray(0, -4), 1000) }, "zstd:"],
    ["an unpacked size too large", { payload: withSize(packed.subarray(0, -4), 1_000_000) }, "zstd:"],
    ["a bomb", { payload: withSize(zstdCompressSync(bomb), 4096) }, "zstd:"],
    ["bzip2", { payload: withSize(Buffer.from("BZh91AY&SY............"), 100) }, "not known here"],
    ["an ELF without a PVH note", { payload: withSize(zstdCompressSync(noPvh), noPvh.length) }, "missing PVH header"],
    ["no ELF", { payload: withSize(zstdCompressSync(bomb), bomb.length) }, "not an ELF file"],
  ] as const)("with %s the code unpacks it", async (_, spec, message) => {
    const { kernel, messages } = await load(bzImage(spec));
    expect(kernel.protocol).toBe("linux");
    expect(messages).toHaveLength(1);
    expect(messages[0]).toContain(message);
  });

  test("an ELF that does not fit RAM is left to the code", async () => {
    const far = elf({ segments: [{ ...CODE, paddr: 64 * MIB }, NOTE] });
    const { kernel, messages } = await load(bzImage({ payload: withSize(zstdCompressSync(far), far.length) }));
    expect(kernel.protocol).toBe("linux");
    expect(messages[0]).toContain("not wholly inside guest RAM");
  });
});

describe("hostile images", () => {
  const vmlinux = pvhKernel(kernelLike(21, 300));
  const image = bzImage({ payload: withSize(lz4Legacy(vmlinux), vmlinux.length) });

  /** Loads, or fails with an error of ours. */
  async function loadOrError(bytes: Uint8Array): Promise<"loaded" | "refused"> {
    try {
      await load(bytes);
      return "loaded";
    } catch (error) {
      if (!(error instanceof KernelImageError || error instanceof BootSpaceError)) throw error;
      return "refused";
    }
  }

  test("an empty file", async () => {
    expect(chain(await failure(new Uint8Array(0)))).toContain("the file is empty");
  });

  test("random bytes", async () => {
    for (let seed = 0; seed < 100; seed++)
      expect(chain(await failure(randomBytes(seed, 1 + ((seed * 97) % 5000))))).toContain("neither ELF nor a bzImage");
  });

  test("every length of an ELF kernel up to its last segment", async () => {
    for (let length = 1; length < vmlinux.length; length++)
      expect(await loadOrError(vmlinux.subarray(0, length))).toBe("refused");
  });

  test("lengths of a bzImage", async () => {
    const start = 2 * 512;
    for (let length = 1; length <= start; length += 7)
      expect(await loadOrError(image.subarray(0, length))).toBe("refused");
    for (let length = start + 1; length < image.length; length += 7)
      expect((await load(image.subarray(0, length))).kernel.protocol).toBe("linux");
  });

  test.each([
    ["ELF headers", vmlinux, 0, 64 + 3 * 56 + 60],
    ["bzImage headers", image, 0x1f1, 0x26c],
    ["compressed kernels", image, 2 * 512, image.length],
  ] as const)("%s with random values in them", async (_, original, from, to) => {
    const next = random(30);
    const values = [0, 1, 0x7f, 0x80, 0xff];
    const outcomes = new Set<string>();
    for (let i = 0; i < 400; i++) {
      const bytes = Buffer.from(original);
      for (let n = 1 + (next() % 8), at = from + (next() % (to - from)); n > 0 && at < to; n--, at++)
        bytes[at] = values[next() % values.length] ?? 0;
      outcomes.add(await loadOrError(bytes));
    }
    expect(outcomes).toContain("loaded");
  });

  test("a sparse file of many GiB", async () => {
    const path = file(image);
    truncateSync(path, 100 * 2 ** 30);
    const error = await loadKernel(path, "kernel", new TestRam(4 * MIB), { unpack: new Set() }).catch(
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(BootSpaceError);
  });
});
