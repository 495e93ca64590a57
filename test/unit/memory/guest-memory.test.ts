import { afterAll, describe, expect, test } from "bun:test";
import { gpa } from "../../../src/memory/address.ts";
import { GuestMemory, GuestMemoryError } from "../../../src/memory/guest-memory.ts";
import { GuestRam, type RamBacking, RamError } from "../../../src/memory/ram.ts";

const plain: RamBacking = {
  shared: false,
  hugepages: false,
  prefault: false,
  reserve: false,
  thp: false,
  mergeable: false,
};
const MIB = 1 << 20;
const GIB = 2 ** 30;

describe("GuestMemory", () => {
  const ram = new GuestRam(
    [
      { gpa: gpa(0), size: MIB },
      { gpa: gpa(4 * GIB), size: 9 * GIB },
    ],
    plain,
  );
  const memory = new GuestMemory(ram.regions);
  afterAll(() => ram.close());

  test("translates only ranges that are wholly inside one region", () => {
    const low = ram.regions[0]?.hva ?? 0;
    const high = ram.regions[1]?.hva ?? 0;
    for (const [address, length, expected] of [
      [0, MIB, low],
      [0, MIB + 1, 0],
      [MIB - 1, 1, low + MIB - 1],
      [MIB - 1, 2, 0],
      [MIB, 1, 0],
      [4 * GIB - 1, 2, 0],
      [13 * GIB - 8, 8, high + 9 * GIB - 8],
      [13 * GIB - 8, 9, 0],
      [-1, 4, 0],
      [0, -1, 0],
      [2 ** 64 - 4096, 4096, 0],
      [5 * GIB, 2 ** 64, 0],
      [Number.NaN, 1, 0],
      [13 * GIB, 0, 0],
    ] as const)
      expect(memory.hva(address, length)).toBe(expected);
  });

  test("reads back what it wrote, also across 4 GiB windows and unaligned", () => {
    for (const address of [0x123, 4 * GIB, 8 * GIB - 3, 8 * GIB, 12 * GIB - 1]) {
      memory.write(address, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
      expect(memory.readU32(address)).toBe(0x0403_0201);
      expect(memory.readU16(address + 2)).toBe(0x0403);
      expect(memory.readU8(address + 7)).toBe(8);
      memory.writeU32(address, 0xffff_ffff);
      memory.writeU8(address + 4, 0);
      memory.write(address + 5, new Uint8Array(3));
      expect(memory.readU64(address)).toBe(0xffff_ffff);
      const copy = new Uint8Array(2);
      memory.read(address + 3, copy);
      expect([...copy]).toEqual([0xff, 0]);
    }
  });

  test("an access outside RAM is an error that names the address", () => {
    expect(() => memory.readU32(MIB - 2)).toThrow(GuestMemoryError);
    expect(() => memory.readU64(2 * MIB)).toThrow("0x200000");
    expect(() => memory.write(-1, new Uint8Array(1))).toThrow(GuestMemoryError);
    expect(() => memory.block(13 * GIB - 8, 16)).toThrow(GuestMemoryError);
  });
});

describe("GuestRam", () => {
  test("shared memory has a file behind it and private memory has not", () => {
    const shared = new GuestRam([{ gpa: gpa(0), size: MIB }], { ...plain, shared: true });
    expect(shared.regions[0]?.fd).toBeGreaterThan(2);
    shared.close();
    const own = new GuestRam([{ gpa: gpa(0), size: MIB }], { ...plain, thp: true, mergeable: true, prefault: true });
    expect(own.regions[0]?.fd).toBeUndefined();
    own.close();
  });

  test("more than the host has is mapped lazily, and refused when it is to be reserved", () => {
    const size = 64 * 1024 * GIB;
    new GuestRam([{ gpa: gpa(0), size: size / 64 }], plain).close();
    expect(() => new GuestRam([{ gpa: gpa(0), size: size * 4 }], { ...plain, reserve: true })).toThrow(RamError);
  });

  test("a size that is no multiple of the page is refused", () => {
    expect(() => new GuestRam([{ gpa: gpa(0), size: MIB + 1 }], plain)).toThrow("not a multiple");
  });
});
