import { beforeEach, describe, expect, test } from "bun:test";
import { Serial } from "../../../src/devices/serial.ts";
import { block, CountingLine, hammer, read, UNANSWERED, write } from "./access.ts";

const memory = block(Serial.blockSize);
const line = new CountingLine();
let sent: number[] = [];
let rooms = 0;
const make = () => new Serial(memory, { write: (byte) => sent.push(byte) }, line, () => rooms++);
const serial = make();

beforeEach(() => {
  serial.reset();
  sent = [];
  line.edges = 0;
  rooms = 0;
});

describe("16550", () => {
  test("reset values", () => {
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((offset) => read(serial, offset))).toEqual([
      0, 0, 0xc1, 0x03, 0x08, 0x60, 0xb0, 0,
    ]);
    write(serial, 3, 0x83);
    expect([read(serial, 0), read(serial, 1)]).toEqual([12, 0]);
  });

  test("only byte accesses count", () => {
    expect(read(serial, 5, 2)).toBe(UNANSWERED);
    expect(read(serial, 5, 4)).toBe(UNANSWERED);
    write(serial, 0, 0x41, 2);
    write(serial, 7, 0x41, 4);
    expect(sent).toEqual([]);
    expect(read(serial, 7)).toBe(0);
  });

  test("stores LCR, MCR, scratch and the divisor; IER keeps four bits", () => {
    write(serial, 3, 0x80);
    write(serial, 0, 0x34);
    write(serial, 1, 0x12);
    expect([read(serial, 0), read(serial, 1)]).toEqual([0x34, 0x12]);
    write(serial, 3, 0x1b);
    write(serial, 4, 0x0b);
    write(serial, 7, 0x5a);
    write(serial, 1, 0xff);
    expect([1, 3, 4, 7].map((offset) => read(serial, offset))).toEqual([0x0f, 0x1b, 0x0b, 0x5a]);
    expect(sent).toEqual([]);
  });

  test("FCR, LSR and MSR ignore writes", () => {
    for (const offset of [2, 5, 6]) write(serial, offset, 0xff);
    expect([2, 5, 6].map((offset) => read(serial, offset))).toEqual([0xc1, 0x60, 0xb0]);
  });

  test("transmits at once and interrupts only when asked to", () => {
    write(serial, 0, 0x41);
    expect(sent).toEqual([0x41]);
    expect(line.edges).toBe(0);
    write(serial, 1, 0x02);
    expect(line.edges).toBe(0);
    expect(read(serial, 2)).toBe(0xc1);
    write(serial, 0, 0x42);
    expect(line.edges).toBe(1);
    expect(read(serial, 2)).toBe(0xc2);
    expect(read(serial, 2)).toBe(0xc1);
  });

  test("input: data ready, interrupt, and the cause taken back by reading", () => {
    expect(serial.receive(Uint8Array.of(1, 2))).toBe(2);
    expect(line.edges).toBe(0);
    expect(read(serial, 5)).toBe(0x61);
    write(serial, 1, 0x01);
    expect(line.edges).toBe(1);
    expect(read(serial, 0)).toBe(1);
    expect(read(serial, 2)).toBe(0xc1);
    expect(read(serial, 5)).toBe(0x61);
    serial.receive(Uint8Array.of(3));
    expect(line.edges).toBe(2);
    expect(read(serial, 2)).toBe(0xc4);
    expect([read(serial, 0), read(serial, 0), read(serial, 0)]).toEqual([2, 3, 0]);
    expect(read(serial, 5)).toBe(0x60);
  });

  test("loopback feeds the transmitter to the receiver, 64 bytes deep, and drops outside input", () => {
    write(serial, 4, 0x10);
    expect(serial.receive(Uint8Array.of(9, 9))).toBe(2);
    for (let i = 0; i < 70; i++) write(serial, 0, i);
    expect(sent).toEqual([]);
    for (let i = 0; i < 64; i++) expect(read(serial, 0)).toBe(i);
    expect(read(serial, 5)).toBe(0x60);
    expect(read(serial, 6)).toBe(0xb0);
  });

  test("refuses input beyond its queue and calls when there is room again", () => {
    const input = Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff);
    const taken = serial.receive(input);
    expect(taken).toBeLessThan(5000);
    expect(serial.receive(input.subarray(taken))).toBe(0);
    const got: number[] = [];
    let offered = taken;
    while (got.length < 5000) {
      if (rooms > 0) {
        rooms = 0;
        offered += serial.receive(input.subarray(offered));
      }
      expect(read(serial, 5) & 1).toBe(1);
      got.push(read(serial, 0));
    }
    expect(got).toEqual([...input]);
  });

  test("another instance over the same block sees the same registers", () => {
    const other = make();
    write(serial, 7, 0x77);
    serial.receive(Uint8Array.of(5));
    expect([read(other, 7), read(other, 0), read(serial, 5)]).toEqual([0x77, 5, 0x60]);
  });

  test("state is saved, restored, and refused when impossible", () => {
    write(serial, 7, 0x42);
    serial.receive(Uint8Array.of(1, 2, 3));
    const saved = serial.save();
    serial.reset();
    serial.restore(saved);
    expect([read(serial, 7), read(serial, 0), read(serial, 0), read(serial, 0)]).toEqual([0x42, 1, 2, 3]);
    expect(() => serial.restore(saved.subarray(1))).toThrow(RangeError);
    expect(() => serial.restore(new Uint8Array(saved.length).fill(0xff))).toThrow(RangeError);
    expect(serial.receive(Uint8Array.of(1))).toBe(1);
  });

  test("survives every access", () => hammer(serial, 8));
});
