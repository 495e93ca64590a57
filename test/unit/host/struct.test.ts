import { describe, expect, test } from "bun:test";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import {
  atomic32,
  bytes,
  i32,
  list,
  nested,
  struct,
  u8,
  u16,
  u16s,
  u32,
  u32s,
  u64,
  u64n,
} from "../../../src/host/struct.ts";

const block = mapAnonymous(4096);

describe("layout", () => {
  test("follows C's alignment rules", () => {
    const inner = struct("inner", { a: u8, b: u64 });
    const outer = struct("outer", { x: u8, y: u16, z: u32, inner: nested(inner), tail: u8 });
    expect(inner.size).toBe(16);
    expect(outer.offsets).toEqual({ x: 0, y: 2, z: 4, inner: 8, tail: 24 });
    expect(outer.size).toBe(32);
    expect(outer.align).toBe(8);
  });

  test("packed leaves out all padding", () => {
    const packed = struct("packed", { x: u8, y: u64, z: u16 }, "packed");
    expect(packed.offsets).toEqual({ x: 0, y: 1, z: 9 });
    expect(packed.size).toBe(11);
  });
});

describe("access", () => {
  const type = struct("all", {
    a: u8,
    b: u16,
    c: u32,
    d: i32,
    e: u64,
    f: u64n,
    raw: bytes(3),
    halves: u16s(2),
    words: u32s(2),
    flag: atomic32,
  });

  test("each field keeps its own bytes", () => {
    const view = type.at(block, 64);
    view.a = 0x1ff;
    view.b = 0xabcd;
    view.c = 0xdead_beef;
    view.d = -5;
    view.e = 2 ** 52 + 12345;
    view.f = 0xffff_ffff_ffff_fff1n;
    view.raw.set([1, 2, 3]);
    view.halves[1] = 0x1234;
    view.words[0] = 7;
    Atomics.store(view.flag, 0, -1);
    const again = type.at(block, 64);
    expect([again.a, again.b, again.c, again.d, again.e, again.f]).toEqual([
      0xff,
      0xabcd,
      0xdead_beef,
      -5,
      2 ** 52 + 12345,
      0xffff_ffff_ffff_fff1n,
    ]);
    expect([...again.raw, ...again.halves, ...again.words, Atomics.load(again.flag, 0)]).toEqual([
      1, 2, 3, 0, 0x1234, 7, 0, -1,
    ]);
    expect(block.u8[64 + type.offsets.e]).toBe((2 ** 52 + 12345) % 256);
  });

  test("a list is one view an element", () => {
    const entry = struct("entry", { key: u8, value: u32 });
    const table = struct("table", { count: u32, entries: list(entry, 3) });
    const view = table.at(block, 512);
    view.entries.forEach((element, i) => {
      element.value = 100 + i;
    });
    expect(block.view.getUint32(512 + 4 + 8 + 4, true)).toBe(101);
  });

  test("a structure that does not fit is refused", () => {
    expect(() => type.at(block, 4096 - type.size + 1)).toThrow(RangeError);
    expect(() => type.at(block, -1)).toThrow(RangeError);
  });
});
