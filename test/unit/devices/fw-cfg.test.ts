import { beforeEach, describe, expect, test } from "bun:test";
import { FwCfg } from "../../../src/devices/fw-cfg.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { gpa, hva } from "../../../src/memory/address.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { block, hammer, read, write } from "./access.ts";

const RAM_BYTES = 65536;
const SELECTOR = 0;
const DATA = 1;
const DMA_HIGH = 4;
const DMA_LOW = 8;
const KEY = 0x21;
const CONTENT = Uint8Array.from({ length: 100 }, (_, i) => i + 1);

const ram = mapAnonymous(RAM_BYTES);
const content = mapAnonymous(4096);
content.u8.set(CONTENT);
let device: FwCfg;

function make(): FwCfg {
  const items = [{ key: KEY, size: CONTENT.length, content: { kind: "memory", address: content.address } as const }];
  const memory = new GuestMemory([{ gpa: gpa(0), size: RAM_BYTES, hva: hva(ram.address) }]);
  return new FwCfg({ block: refTo(block(FwCfg.blockSize)), items }, memory);
}

const swapped = (value: number): number => Buffer.from(Uint32Array.of(value).buffer).readUInt32BE();

/** Runs a DMA structure at guest address 0x1000. @returns its control word afterwards */
function dma(control: number, length: number, target: number, at = 0x1000): number {
  ram.view.setUint32(0x1000, control);
  ram.view.setUint32(0x1004, length);
  ram.view.setBigUint64(0x1008, BigInt(target));
  write(device, DMA_HIGH, swapped(Math.floor(at / 2 ** 32)), 4);
  write(device, DMA_LOW, swapped(at >>> 0), 4);
  return ram.view.getUint32(0x1000);
}

beforeEach(() => {
  ram.u8.fill(0xee);
  device = make();
  device.reset();
  write(device, SELECTOR, KEY, 2);
});

describe("fw_cfg", () => {
  test("bytes and words of an item, zeros behind its end and of items that are not there", () => {
    expect([read(device, DATA), read(device, DATA, 2), read(device, DATA, 4)]).toEqual([1, 0x0302, 0x0706_0504]);
    for (let i = 7; i < 98; i++) read(device, DATA);
    expect([read(device, DATA, 4), read(device, DATA)]).toEqual([0x6463, 0]);
    write(device, SELECTOR, 0x77, 2);
    expect(read(device, DATA, 4)).toBe(0);
  });

  test("DMA: read, skip and select; zeros behind the end", () => {
    expect(dma(4, 10, 0)).toBe(0);
    expect(dma(2, 100, 0x2000)).toBe(0);
    expect([...ram.u8.subarray(0x2000, 0x2000 + 90)]).toEqual([...CONTENT.subarray(10)]);
    expect([...ram.u8.subarray(0x2000 + 90, 0x2000 + 101)]).toEqual([...new Uint8Array(10), 0xee]);
    expect(dma(((KEY << 16) | 8 | 2) >>> 0, 1, 0x3000)).toBe(0);
    expect([ram.u8[0x3000], read(device, DATA)]).toEqual([1, 2]);
  });

  test.each([
    ["a write", 16, 4, 0x2000],
    ["a target outside of RAM", 2, 4, RAM_BYTES],
    ["a target across the end of RAM", 2, 16, RAM_BYTES - 8],
    ["a length without end", 2, 0xffff_ffff, 0x2000],
    ["an address that is none", 2, 4, Number.MAX_SAFE_INTEGER],
  ])("%s is refused", (_what, control, length, target) => {
    expect(dma(control, length, target)).toBe(1);
    expect(ram.u8[0x2000]).toBe(0xee);
    expect(read(device, DATA)).toBe(1);
  });

  test("a DMA structure outside of RAM is left alone", () => {
    for (const at of [RAM_BYTES - 8, 2 ** 40]) expect(dma(2, 4, 0x2000, at)).toBe(2);
  });

  test("no access does harm", () => {
    hammer(device, 12);
    write(device, SELECTOR, KEY, 2);
    expect(read(device, DATA)).toBe(1);
  });

  test("goes on where it was saved; a state of another size is refused", () => {
    read(device, DATA, 4);
    const saved = device.save();
    device = make();
    device.restore(saved);
    expect(read(device, DATA)).toBe(5);
    expect(() => device.restore(saved.subarray(1))).toThrow(RangeError);
  });
});
