import { beforeEach, expect, test } from "bun:test";
import { Ivshmem } from "../../../src/devices/ivshmem.ts";
import { PciSegment } from "../../../src/devices/pci/segment.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { block, hammer, read } from "./access.ts";

const SIZE = 1 << 20;
const HOME = 0x40_0000_0000;
const AWAY = HOME + 4 * SIZE;
const HVA = 0x7000_0000;
const SLOT = 5;

let slots: string[];
let device: Ivshmem;

function make(): Ivshmem {
  const mover = new PciSegment({
    number: 0,
    block: refTo(block(PciSegment.blockSize)),
    memory32: { base: 0xc000_0000, length: 0x2800_0000 },
    memory64: { base: HOME, length: 0x40_0000_0000 },
  });
  const wiring = {
    id: "__ivshmem",
    block: refTo(block(Ivshmem.blockSize)),
    bar0: 0xc000_0000,
    bar2: HOME,
    size: SIZE,
    hva: HVA,
    memorySlot: SLOT,
  };
  const memorySlots = {
    fill: (slot: number, gpa: number, size: number, hva: number) =>
      slots.push(`${slot}: ${size} bytes of ${hva.toString(16)} at ${gpa.toString(16)}`),
    clear: (slot: number) => slots.push(`${slot}: nothing`),
  };
  const made = new Ivshmem(wiring, { mover, memorySlots });
  mover.add(1, made);
  return made;
}

function moveTo(address: number): void {
  device.writeConfig(0x18, 4, address % 2 ** 32);
  device.writeConfig(0x1c, 4, Math.floor(address / 2 ** 32));
}

const filled = (address: number): string => `${SLOT}: ${SIZE} bytes of ${HVA.toString(16)} at ${address.toString(16)}`;

beforeEach(() => {
  slots = [];
  device = make();
  device.reset();
});

test("the memory is where BAR 2 is, and follows it", () => {
  expect(slots).toEqual([filled(HOME)]);
  device.writeConfig(0x04, 2, 2);
  moveTo(AWAY);
  expect(slots.slice(1)).toEqual([`${SLOT}: nothing`, filled(AWAY)]);
  moveTo(AWAY + SIZE / 2);
  moveTo(2 ** 50);
  expect(slots).toHaveLength(3);
});

test("the registers read as 0 and take nothing", () => {
  const registers = {
    read: (access: Parameters<Ivshmem["readBar"]>[1]) => device.readBar(0, access),
    write: () => device.writeBar(),
  };
  hammer(registers, 0x100);
  expect(read(registers, 8, 4)).toBe(0);
});

test("a moved BAR is filled where it was saved; what is no state is refused", () => {
  device.writeConfig(0x04, 2, 2);
  moveTo(AWAY);
  const saved = device.save();
  slots = [];
  const next = make();
  next.restore(saved);
  expect(slots).toEqual([filled(AWAY)]);
  expect(() => next.restore(new Uint8Array(saved.length))).toThrow(RangeError);
});
