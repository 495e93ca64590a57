import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { IOAPIC_PINS, IoApic } from "../../../src/devices/ioapic.ts";
import type { MsiRouter } from "../../../src/devices/lines.ts";
import { msiAddressHi, msiAddressLo } from "../../../src/devices/msi.ts";
import { createEventFd, drainEventFd } from "../../../src/host/eventfd.ts";
import { libc } from "../../../src/host/libc.ts";
import { block, hammer, read, UNANSWERED, write } from "./access.ts";

class Routes implements MsiRouter {
  readonly routes = new Map<number, readonly [number, number, number]>();
  calls = 0;
  /** Stands in for another thread that acts while a route is being set. */
  during: (() => void) | undefined;
  route(gsi: number, lo: number, hi: number, data: number): void {
    this.calls++;
    this.during?.();
    this.routes.set(gsi, [lo, hi, data]);
  }
  unroute(gsi: number): void {
    this.routes.delete(gsi);
  }
}

const pins = Array.from({ length: IOAPIC_PINS }, (_, pin) => ({ gsi: 24 + pin, eventFd: createEventFd() }));
afterAll(() => {
  for (const { eventFd } of pins) libc.close(eventFd);
});

const memory = block(IoApic.blockSize);
const routes = new Routes();
const ioapic = new IoApic(memory, pins, routes);

const get = (register: number) => {
  write(ioapic, 0, register, 4);
  return read(ioapic, 0x10, 4);
};
const set = (register: number, value: number) => {
  write(ioapic, 0, register, 4);
  write(ioapic, 0x10, value, 4);
};
const raised = (pin: number) => drainEventFd(pins[pin]?.eventFd ?? -1);

beforeEach(() => {
  ioapic.reset();
  routes.routes.clear();
  routes.calls = 0;
  for (let pin = 0; pin < IOAPIC_PINS; pin++) raised(pin);
});

describe("IOAPIC registers", () => {
  test("reset values", () => {
    expect([get(0), get(1), get(2)]).toEqual([0, 0x0017_0011, 0]);
    for (let pin = 0; pin < IOAPIC_PINS; pin++)
      expect([get(0x10 + 2 * pin), get(0x11 + 2 * pin)]).toEqual([0x1_0000, 0]);
  });

  test("ID keeps bits 27:24, arbitration follows, version ignores writes, the rest reads 0", () => {
    set(0, 0xffff_ffff);
    set(1, 0);
    set(2, 0);
    expect([get(0), get(1), get(2)]).toEqual([0x0f00_0000, 0x0017_0011, 0x0f00_0000]);
    for (const register of [3, 0x0f, 0x40, 0xff]) {
      set(register, 0x1234_5678);
      expect(get(register)).toBe(0);
    }
    expect(read(ioapic, 0, 4)).toBe(0xff);
  });

  test("only 4-byte accesses of the two registers count", () => {
    set(0x10, 0x1_0000 | 0x31);
    for (const size of [1, 2, 8]) {
      expect(read(ioapic, 0x10, size)).toBe(UNANSWERED);
      write(ioapic, 0x10, 0, size);
    }
    expect(read(ioapic, 4, 4)).toBe(UNANSWERED);
    expect(get(0x10)).toBe(0x1_0031);
  });

  test("delivery status and remote IRR are read-only", () => {
    set(0x10, 0xffff_ffff);
    expect(get(0x10)).toBe(0xffff_afff);
  });
});

describe("IOAPIC routing", () => {
  test("an entry becomes an MSI message when unmasked, and not before", () => {
    set(0x11 + 8, 0xab00_0000);
    set(0x10 + 8, 0x1_0041);
    expect(routes.calls).toBe(0);
    set(0x10 + 8, 0x0041);
    expect(routes.routes.get(28)).toEqual([0xfeea_b008, 0, 0x0041]);
    set(0x10 + 8, 0x0000_8941);
    expect(routes.routes.get(28)).toEqual([0xfeea_b00c, 0, 0x8141]);
    set(0x11 + 8, 0x0100_0000);
    expect(routes.routes.get(28)).toEqual([0xfee0_100c, 0, 0x8141]);
  });

  test("an edge reaches its eventfd only while the pin is unmasked", () => {
    set(0x10 + 26, 0x31);
    ioapic.line(13).pulse();
    expect(raised(13)).toBe(true);
    expect(raised(13)).toBe(false);
    set(0x10 + 26, 0x1_0031);
    ioapic.line(13).pulse();
    expect(raised(13)).toBe(false);
    set(0x10 + 26, 0x31);
    expect(raised(13)).toBe(true);
    set(0x10 + 26, 0x1_0031);
    set(0x10 + 26, 0x31);
    expect(raised(13)).toBe(false);
  });

  test("a waiting edge goes out by the new route, not before it", () => {
    ioapic.line(4).pulse();
    let early = true;
    routes.during = () => {
      early = raised(4);
    };
    set(0x18, 0x34);
    routes.during = undefined;
    expect([early, raised(4)]).toEqual([false, true]);
  });

  test("level: delivery sets remote IRR; the end of the interrupt or switching to edge clears it", () => {
    set(0x10, 0x8055);
    ioapic.line(0).pulse();
    expect(get(0x10)).toBe(0xc055);
    ioapic.endOfInterrupt(0x54);
    expect(get(0x10)).toBe(0xc055);
    ioapic.endOfInterrupt(0x55);
    expect(get(0x10)).toBe(0x8055);
    ioapic.line(0).pulse();
    set(0x10, 0x0055);
    expect(get(0x10)).toBe(0x0055);
  });

  test("a line of another instance obeys the same mask", () => {
    const other = new IoApic(memory, pins, routes);
    other.line(7).pulse();
    expect(raised(7)).toBe(false);
    set(0x10 + 14, 0x77);
    expect(raised(7)).toBe(true);
    other.line(7).pulse();
    expect(raised(7)).toBe(true);
  });

  test("restoring routes what is unmasked and keeps what waits", () => {
    set(0x10, 0x31);
    ioapic.line(1).pulse();
    const saved = ioapic.save();
    const restored = new Routes();
    const other = new IoApic(block(IoApic.blockSize), pins, restored);
    other.reset();
    other.restore(saved);
    expect([...restored.routes.keys()]).toEqual([24]);
    expect(raised(1)).toBe(false);
    write(other, 0, 0x12, 4);
    write(other, 0x10, 0x32, 4);
    expect(raised(1)).toBe(true);
  });

  test("a refused route leaves the lock free", () => {
    routes.during = () => {
      throw new RangeError("full");
    };
    expect(() => set(0x10, 0x31)).toThrow("full");
    routes.during = undefined;
    expect(get(0x10)).toBe(0x31);
  });

  test("there are 24 pins", () => {
    expect(() => ioapic.line(24)).toThrow(RangeError);
    expect(() => ioapic.line(-1)).toThrow(RangeError);
    expect(() => new IoApic(memory, pins.slice(1), routes)).toThrow(RangeError);
  });

  test("survives every access", () => {
    for (let register = 0; register < 0x40; register++) {
      write(ioapic, 0, register, 4);
      hammer(
        { read: (access) => ioapic.read(access), write: (access) => access.offset > 0 && ioapic.write(access) },
        0x20,
      );
    }
  });
});

test("MSI addresses: the extended destination moves to the high half in compatibility format only", () => {
  const move = (lo: number, hi: number) => [msiAddressLo(lo, hi), msiAddressHi(lo, hi)];
  expect(move(0xfee1_2004, 0)).toEqual([0xfee1_2004, 0]);
  expect(move(0xfee1_2fe4, 0)).toEqual([0xfee1_2004, 0x7f00]);
  expect(move(0xfee1_2024, 0)).toEqual([0xfee1_2004, 0x100]);
  expect(move(0xfee1_2ff4, 0)).toEqual([0xfee1_2ff4, 0]);
  expect(move(0xfee1_2fe4, 0x100)).toEqual([0xfee1_2fe4, 0x100]);
});
