import { beforeEach, describe, expect, test } from "bun:test";
import type { Bar } from "../../../../src/devices/pci/bar.ts";
import { ConfigLayout } from "../../../../src/devices/pci/config-layout.ts";
import { ConfigSpace, configSpaceState } from "../../../../src/devices/pci/config-space.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";

const MIB = 1 << 20;
const identity = {
  vendor: 0x1af4,
  device: 0x1042,
  subsystemVendor: 0x1af4,
  subsystem: 0x1042,
  revision: 1,
  baseClass: 1,
  subclass: 0x80,
};
const BAR32 = 0xe7f8_0000;
const BAR64 = 0x3fff_ff80_0000;

let config: ConfigSpace;
/** Addresses the segment would grant. */
let free: Set<number>;
let moves: string[];

beforeEach(() => {
  const layout = new ConfigLayout(identity);
  layout.addBar({ index: 0, kind: "memory32", size: MIB / 2, address: BAR32 });
  layout.addBar({ index: 2, kind: "memory64", size: MIB / 2, address: BAR64, prefetchable: true });
  layout.addCapability(0x09, Uint8Array.of(16, 1, 2, 3), Uint8Array.of(0, 0, 0xff, 0x0f));
  layout.addCapability(0x11, new Uint8Array(9));
  free = new Set();
  moves = [];
  const mover = {
    allows: (_bar: unknown, address: number) => free.has(address),
    move: (bar: Bar, address: number) => {
      if (!free.has(address)) return false;
      bar.remap(address);
      return true;
    },
    remapped: () => undefined,
  };
  config = new ConfigSpace(layout, configSpaceState.at(mapAnonymous(configSpaceState.size)), mover, (bar, from, to) =>
    moves.push(`${bar.index}: ${from.toString(16)} -> ${to.toString(16)}`),
  );
  config.reset();
});

const MEMORY_ON = (): void => config.write(0x04, 2, 0x0002);

describe("header", () => {
  test.each([
    [0x00, 4, 0x1042_1af4],
    [0x02, 2, 0x1042],
    [0x08, 4, 0x0180_0001],
    [0x0b, 1, 0x01],
    [0x04, 4, 0x0010_0000],
    [0x2c, 4, 0x1042_1af4],
    [0x34, 1, 0x40],
    [0x40, 4, 0x0110_4809],
    [0x44, 4, 0x0000_0302],
    [0x48, 2, 0x0011],
    [0x100, 4, 0],
    [0xffc, 4, 0],
  ])("at 0x%s, %i bytes", (offset, size, value) => {
    expect(config.read(offset, size)).toBe(value);
  });

  test.each<[offset: number, size: number, write: number, expected: number, name: string]>([
    [0x00, 4, 0, 0x1042_1af4, "ids are fixed"],
    [0x04, 4, 0xffff_ffff, 0x0010_ffff, "command is writable, status is not"],
    [0x05, 1, 0xff, 0x0010_ff00, "command by bytes"],
    [0x0c, 4, 0xffff_ffff, 0xff, "cache line size only"],
    [0x3c, 4, 0xffff_ffff, 0xff, "interrupt line only, no pin"],
    [0x2c, 4, 0, 0x1042_1af4, "subsystem is fixed"],
    [0x34, 4, 0xffff_ffff, 0x40, "the capability pointer is fixed"],
    [0x40, 4, 0xffff_ffff, 0x0110_4809, "capability heads are fixed"],
    [0x44, 4, 0xffff_ffff, 0x0fff, "a capability's own mask"],
    [0x30, 4, 0xffff_ffff, 0, "no ROM"],
    [0x14, 4, 0xffff_ffff, 0, "no such BAR"],
    [0x200, 4, 0xffff_ffff, 0, "nothing beyond 256 bytes"],
  ])("write %#x, %i bytes of %#x: %#x (%s)", (offset, size, write, expected) => {
    config.write(offset, size, write);
    expect(config.read(offset & ~3, 4)).toBe(expected);
  });

  test("impossible layouts are refused", () => {
    const layout = new ConfigLayout(identity);
    layout.addBar({ index: 4, kind: "memory64", size: 4096, address: 0 });
    for (const bar of [
      { index: 5, kind: "memory32", size: 4096, address: 0 },
      { index: 3, kind: "memory64", size: 4096, address: 0 },
      { index: 6, kind: "memory32", size: 4096, address: 0 },
      { index: 0, kind: "memory32", size: 8, address: 0 },
      { index: 0, kind: "memory32", size: 4096, address: 2048 },
    ] as const)
      expect(() => layout.addBar(bar)).toThrow(RangeError);
    layout.addCapability(9, new Uint8Array(126));
    expect(() => layout.addCapability(9, new Uint8Array(2))).toThrow("no room");
  });
});

describe("BARs", () => {
  test("a size probe answers with the size and moves nothing", () => {
    MEMORY_ON();
    for (const [register, ones, mask, address] of [
      [0x10, 0xffff_ffff, 0xfff8_0000, BAR32],
      [0x10, 0xffff_fff0, 0xfff8_0000, BAR32],
      [0x18, 0xffff_ffff, 0xfff8_000c, (BAR64 % 2 ** 32) + 0xc],
      [0x1c, 0xffff_ffff, 0xffff_ffff, Math.floor(BAR64 / 2 ** 32)],
    ] as const) {
      expect(config.read(register, 4)).toBe(address);
      config.write(register, 4, ones);
      expect(config.read(register, 4)).toBe(mask);
      config.write(register, 4, address);
      expect(config.read(register, 4)).toBe(address);
    }
    expect(moves).toEqual([]);
  });

  test("a 32-bit BAR moves at its write, a 64-bit one at that of its upper half", () => {
    MEMORY_ON();
    free.add(0xc000_0000).add(0x2_c000_0000);
    config.write(0x10, 4, 0xc000_0000);
    expect(moves).toEqual(["0: e7f80000 -> c0000000"]);
    config.write(0x18, 4, 0xc000_0000);
    expect(moves.length).toBe(1);
    config.write(0x1c, 4, 2);
    expect(moves[1]).toBe("2: 3fffff800000 -> 2c0000000");
    expect(config.bars.map(({ mapped }) => mapped)).toEqual([0xc000_0000, 0x2_c000_0000]);
    expect(config.read(0x18, 4)).toBe(0xc000_000c);
  });

  test("writes of less than four bytes change nothing", () => {
    MEMORY_ON();
    config.write(0x12, 2, 0xc000);
    config.write(0x13, 1, 0xc0);
    expect(config.read(0x10, 4)).toBe(BAR32);
  });

  test("moves wait for memory decoding, and only the last wish counts", () => {
    free.add(0xc000_0000).add(0xc100_0000);
    config.write(0x10, 4, 0xc000_0000);
    config.write(0x10, 4, 0xc100_0000);
    config.write(0x04, 2, 0x0005);
    expect(moves).toEqual([]);
    expect(config.read(0x10, 4)).toBe(0xc100_0000);
    config.write(0x04, 1, 0x07);
    expect(moves).toEqual(["0: e7f80000 -> c1000000"]);
    config.write(0x04, 1, 0);
    MEMORY_ON();
    expect(moves.length).toBe(1);
  });

  test("a wish that was taken back is forgotten, also across a probe", () => {
    config.write(0x10, 4, 0xc000_0000);
    config.write(0x10, 4, 0xffff_ffff);
    config.write(0x10, 4, BAR32);
    MEMORY_ON();
    expect(moves).toEqual([]);
    expect(config.read(0x10, 4)).toBe(BAR32);
  });

  test("a refused move puts the old address back, at once or when decoding goes on", () => {
    MEMORY_ON();
    config.write(0x10, 4, 0xd000_0000);
    expect(config.read(0x10, 4)).toBe(BAR32);
    config.write(0x18, 4, 0);
    config.write(0x1c, 4, 0x1234_5678);
    expect([config.read(0x18, 4), config.read(0x1c, 4)]).toEqual([(BAR64 % 2 ** 32) + 0xc, 0x3fff]);
    config.write(0x04, 2, 0);
    config.write(0x10, 4, 0xd000_0000);
    expect(config.read(0x10, 4)).toBe(0xd000_0000);
    MEMORY_ON();
    expect(config.read(0x10, 4)).toBe(BAR32);
    expect(moves).toEqual([]);
  });

  test("a saved address that the segment does not allow is refused", () => {
    free.add(BAR32).add(BAR64);
    config.validate();
    free.delete(BAR64);
    expect(() => config.validate()).toThrow("BAR 2");
  });
});
