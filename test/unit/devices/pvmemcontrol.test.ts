import { beforeEach, expect, test } from "bun:test";
import { PciSegment } from "../../../src/devices/pci/segment.ts";
import { Pvmemcontrol } from "../../../src/devices/pvmemcontrol/device.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { gpa, hva } from "../../../src/memory/address.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { block, read, write } from "./access.ts";

const RAM_BYTES = 1 << 20;
const ACK = 0x03cf_5196;
const ERROR = 0x01fb_a249;
const RESET = 0x060f_e6d2;
const REGISTER = 0x0e35_9539;
const READY = 0x0ca8_d227;

const ram = mapAnonymous(RAM_BYTES);
let device: Pvmemcontrol;

function make(): Pvmemcontrol {
  const mover = new PciSegment({
    number: 0,
    block: refTo(block(PciSegment.blockSize)),
    memory32: { base: 0xc000_0000, length: 0x2800_0000 },
    memory64: { base: 0x40_0000_0000, length: 0x40_0000_0000 },
  });
  const wiring = {
    id: "__pvmemcontrol",
    block: refTo(block(Pvmemcontrol.blockSize)),
    state: refTo(block(Pvmemcontrol.stateSize)),
    bar0: 0xe000_0000,
  };
  const memory = new GuestMemory([{ gpa: gpa(0), size: RAM_BYTES, hva: hva(ram.address) }]);
  return new Pvmemcontrol(wiring, { mover, ram: memory });
}

const bar = () => ({
  read: (access: Parameters<Pvmemcontrol["readBar"]>[1]) => device.readBar(0, access),
  write: (access: Parameters<Pvmemcontrol["writeBar"]>[1]) => device.writeBar(0, access),
});

function command(value: number): number {
  write(bar(), 8, value, 4);
  return read(bar(), 8, 4);
}

/** The errno of a request that is made through the buffer at guest address 0x1000. */
function ask(connection: number, code: number, address: number, length: number): number {
  for (const [i, word] of [code, address, length, 0].entries())
    ram.view.setBigUint64(0x1000 + 8 * i, BigInt(word), true);
  write(bar(), 8, connection, 4);
  return ram.view.getUint32(0x1000, true);
}

function connect(): number {
  command(RESET);
  write(bar(), 0, 0x1000, 8);
  expect(command(REGISTER)).toBe(ACK);
  const connection = read(bar(), 0, 4);
  expect(command(READY)).toBe(ACK);
  return connection;
}

beforeEach(() => {
  device = make();
  device.reset();
});

test("requests are carried out in RAM alone, and protection is none of them", () => {
  expect(read(bar(), 8, 4)).toBe(ERROR);
  const connection = connect();
  ram.u8[0x4000] = 7;
  expect(ask(connection, 1, 0x4000, 4096)).toBe(0);
  expect(ram.u8[0x4000]).toBe(0);
  expect(ask(connection, 1, RAM_BYTES - 4096, 8192)).toBe(22);
  for (const code of [9, 10, 11, 15]) expect(ask(connection, code, 0x4000, 4096)).toBe(95);
  expect(ask(connection, 0, 0, 0)).toBe(0);
  expect(ram.view.getBigUint64(0x1008, true)).toBe(4096n);
  expect(ask(connection + 1, 1, 0x4000, 4096)).toBe(1);
});

test("a request before the device is ready is none", () => {
  command(RESET);
  write(bar(), 0, 0x1000, 8);
  command(REGISTER);
  expect(ask(0x8000_0000, 1, 0x4000, 4096)).toBe(1);
});

test("connections survive a restore; what is no state is refused", () => {
  const connection = connect();
  const saved = device.save();
  device = make();
  device.restore(saved);
  expect(ask(connection, 0, 0, 0)).toBe(0);
  expect(() => device.restore(saved.subarray(4))).toThrow(RangeError);
  expect(() => device.restore(new Uint8Array(4))).toThrow(RangeError);
  expect(() => device.restore(Uint8Array.from(saved, (byte, i) => (i < saved.length - 65_600 ? byte : 0xff)))).toThrow(
    RangeError,
  );
});
