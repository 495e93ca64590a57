import { describe, expect, test } from "bun:test";
import { bytesOf } from "../../../src/machine/byte-string.ts";
import { ByteWriter } from "../../../src/machine/byte-writer.ts";

describe("ByteWriter", () => {
  test("appends in little-endian", () => {
    const out = new ByteWriter();
    out.u8(0x01);
    out.u16(0x0302);
    out.u32(0x0706_0504);
    out.u64(0x000e_0d0c_0b0a_09);
    out.u64(0xfedc_ba98_7654_3210n);
    out.bytes([1, 2]);
    out.byteString(bytesOf([0xff, 0x80]));
    out.zeros(2);
    out.ascii("ab", 4);
    out.ascii("ab", 3, "_");
    expect(out.finish().toHex()).toBe("01020304050607090a0b0c0d0e00001032547698badcfe0102ff80000061622020" + "61625f");
    expect(out.length).toBe(out.finish().length);
  });

  test("keeps its contents while it grows", () => {
    const out = new ByteWriter(1);
    for (let i = 0; i < 1000; i++) {
      out.u8(i & 0xff);
      out.u32(i);
    }
    const view = new DataView(out.finish().buffer);
    for (let i = 0; i < 1000; i++) expect(view.getUint32(i * 5 + 1, true)).toBe(i);
  });

  test("refuses what does not fit its field", () => {
    const out = new ByteWriter();
    expect(() => out.u8(256)).toThrow(RangeError);
    expect(() => out.u16(-1)).toThrow(RangeError);
    expect(() => out.u32(2 ** 32)).toThrow(RangeError);
    expect(() => out.u32(0.5)).toThrow(RangeError);
    expect(() => out.u64(2 ** 53)).toThrow(RangeError);
    expect(() => out.u64(-1n)).toThrow(RangeError);
    expect(() => out.ascii("too long", 4)).toThrow(RangeError);
    expect(() => out.ascii("é")).toThrow(RangeError);
  });

  test("overwrites only what was written", () => {
    const out = new ByteWriter();
    out.zeros(8);
    out.setU8(0, 1);
    out.setU16(1, 0x0302);
    out.setU32(3, 0x0706_0504);
    expect(out.finish().toHex()).toBe("0102030405060700");
    out.setU64(0, 2 ** 32 + 1);
    expect(out.finish().toHex()).toBe("0100000001000000");
    expect(() => out.setU8(8, 0)).toThrow(RangeError);
    expect(() => out.setU64(1, 0)).toThrow(RangeError);
    expect(() => out.setU32(-1, 0)).toThrow(RangeError);
    expect(() => out.setU8(0, 256)).toThrow(RangeError);
  });

  test("sums any range", () => {
    const out = new ByteWriter();
    for (let i = 0; i < 3000; i++) out.u8((i * 251 + (i >> 3)) & 0xff);
    const bytes = out.finish();
    for (const [from, to] of [
      [0, 3000],
      [1, 2999],
      [3, 4],
      [5, 7],
      [2, 2],
      [7, 1500],
      [4, 8],
      [6, 2057],
    ] as const) {
      const sum = bytes.subarray(from, to).reduce((total, value) => total + value, 0);
      expect((sum + out.checksum(from, to)) & 0xff).toBe(0);
    }
    const full = new ByteWriter();
    for (let i = 0; i < 4096; i++) full.u8(0xff);
    expect(full.checksum(0)).toBe(0);
    full.u8(0xff);
    expect(full.checksum(1)).toBe(0);
    expect(full.checksum(0)).toBe(1);
  });
});
