import { describe, expect, test } from "bun:test";
import {
  asciiBytes,
  type ByteString,
  byte,
  bytesOf,
  concat,
  concatEach,
  dword,
  qword,
  word,
} from "../../../src/machine/byte-string.ts";

const hex = (bytes: ByteString): string => Buffer.from(bytes, "latin1").toString("hex");

describe("integers", () => {
  test("are little-endian", () => {
    expect(hex(byte(0xfe))).toBe("fe");
    expect(hex(word(0x1234))).toBe("3412");
    expect(hex(dword(0xfedc_ba98))).toBe("98badcfe");
    expect(hex(qword(0x3fff_fffe_f000))).toBe("00f0feffff3f0000");
    expect(hex(qword(2 ** 53 - 1))).toBe("ffffffffffff1f00");
    expect(hex(qword(0xffff_ffff_ffff_fffen))).toBe("feffffffffffffff");
  });

  test("must fit", () => {
    for (const value of [-1, 0x100, 1.5, Number.NaN]) expect(() => byte(value)).toThrow(RangeError);
    for (const value of [-1, 0x1_0000, 0.1]) expect(() => word(value)).toThrow(RangeError);
    for (const value of [-1, 0x1_0000_0000, 0.1, Number.NaN]) expect(() => dword(value)).toThrow(RangeError);
    for (const value of [-1, 2 ** 53, 0.1, -1n, 1n << 64n]) expect(() => qword(value)).toThrow(RangeError);
  });
});

test("arrays and texts", () => {
  expect(hex(bytesOf(Uint8Array.of(0, 0x80, 0xff)))).toBe("0080ff");
  expect(() => bytesOf([256])).toThrow(RangeError);
  expect(hex(asciiBytes("A~"))).toBe("417e");
  expect(() => asciiBytes("é")).toThrow(RangeError);
});

test("parts in a row", () => {
  expect(hex(concat([byte(1), word(2), byte(3)]))).toBe("01020003");
  expect(concat([])).toHaveLength(0);
  expect(hex(concatEach(3, byte))).toBe("000102");
});
