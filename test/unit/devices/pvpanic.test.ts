import { beforeEach, expect, test } from "bun:test";
import type { BusDevice } from "../../../src/devices/bus.ts";
import type { GuestNotice } from "../../../src/devices/notices.ts";
import { PciSegment } from "../../../src/devices/pci/segment.ts";
import { PVPANIC_BAR_BYTES, Pvpanic } from "../../../src/devices/pvpanic.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { block, hammer, read, write } from "./access.ts";

const BAR = 0xe7f7_fff0;
const MOVED = 0xc000_0100;

let notices: GuestNotice[];
let segment: PciSegment;
let device: Pvpanic;
let bar: BusDevice;

/** The device in a machine of its own. */
function make(): Pvpanic {
  segment = new PciSegment({
    number: 0,
    block: refTo(block(PciSegment.blockSize)),
    memory32: { base: 0xc000_0000, length: 0x2800_0000 },
    memory64: { base: 0x40_0000_0000, length: 0x40_0000_0000 },
  });
  const wiring = { id: "__pvpanic", block: refTo(block(Pvpanic.blockSize)), bar0: BAR };
  const made = new Pvpanic(wiring, { mover: segment, notify: (notice) => notices.push(notice) });
  segment.add(1, made);
  return made;
}

beforeEach(() => {
  notices = [];
  device = make();
  device.reset();
  bar = { read: (access) => device.readBar(0, access), write: (access) => device.writeBar(0, access) };
});

test("identity and BAR are those of the device that drivers know", () => {
  expect(device.readConfig(0x00, 4)).toBe(0x0011_1b36);
  expect(device.readConfig(0x04, 4)).toBe(0x0103);
  expect(device.readConfig(0x08, 4)).toBe(0x0880_0001);
  expect(device.readConfig(0x2c, 4)).toBe(0);
  expect(device.readConfig(0x10, 4)).toBe(BAR);
  device.writeConfig(0x10, 4, 0xffff_ffff);
  expect(device.readConfig(0x10, 4)).toBe(0xffff_fff0);
});

test("the register reads as the events it takes", () => {
  expect(read(bar, 0, 1)).toBe(3);
  expect(read(bar, 0, 2)).toBe(3);
  expect(read(bar, 1, 1)).toBe(0);
});

test.each([
  [1, "panic"],
  [2, "crash_loaded"],
  [3, "unknown_event"],
  [0x80, "unknown_event"],
] as const)("a write of %d is the event %s", (value, event) => {
  write(bar, 0, value);
  expect(notices).toEqual([{ kind: "panic", event }]);
});

test("a guest that writes without end is reported now and then", () => {
  const start = performance.now();
  for (let i = 0; i < 10_000; i++) write(bar, 0, 1 + (i & 1));
  const periods = 1 + Math.floor((performance.now() - start) / 100);
  expect(notices.length).toBeGreaterThanOrEqual(2);
  expect(notices.length).toBeLessThanOrEqual(2 * periods);
});

test("no access does harm", () => {
  hammer(bar, PVPANIC_BAR_BYTES);
  expect(read(bar, 0, 1)).toBe(3);
});

test("a moved BAR is saved and restored; a state that is none is refused", () => {
  device.writeConfig(0x10, 4, MOVED);
  expect(device.bars[0]?.mapped).toBe(MOVED);
  const saved = device.save();
  const next = make();
  next.restore(saved);
  expect(next.bars[0]?.mapped).toBe(MOVED);
  expect(segment.find(MOVED)).toBe(0);
  expect(() => next.restore(saved.subarray(4))).toThrow(RangeError);
  expect(() => next.restore(new Uint8Array(saved.length))).toThrow(RangeError);
});
