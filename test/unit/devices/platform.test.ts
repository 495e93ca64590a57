import { describe, expect, test } from "bun:test";
import { AcpiPower } from "../../../src/devices/acpi-power.ts";
import { Cmos } from "../../../src/devices/cmos.ts";
import { CpuHotplug } from "../../../src/devices/cpu-hotplug.ts";
import { DebugConsole } from "../../../src/devices/debug-console.ts";
import { DebugPort } from "../../../src/devices/debug-port.ts";
import { FirmwareDebug } from "../../../src/devices/firmware-debug.ts";
import { Ged, GedEvent } from "../../../src/devices/ged.ts";
import { I8042 } from "../../../src/devices/i8042.ts";
import { PciHotplug } from "../../../src/devices/pci-hotplug.ts";
import { PmTimer } from "../../../src/devices/pm-timer.ts";
import { block, CountingLine, hammer, RecordedRequests, read, UNANSWERED, write } from "./access.ts";

const GIB = 1024 ** 3;

describe("CMOS", () => {
  const requests = new RecordedRequests();
  let now = Date.UTC(2024, 1, 29, 23, 58, 57) / 1000;
  const cmos = (below4g = GIB, above4g = 0) => {
    const device = new Cmos(block(Cmos.blockSize), { below4g, above4g }, requests, () => now);
    device.reset();
    return device;
  };
  const at = (device: Cmos, index: number) => {
    write(device, 0, index);
    return read(device, 1);
  };

  test("time is UTC, BCD, 24 hours", () => {
    const device = cmos();
    now = Date.UTC(2024, 1, 29, 23, 58, 57) / 1000;
    expect([0, 2, 4, 6, 7, 8, 9, 0x32].map((index) => at(device, index))).toEqual([
      0x57, 0x58, 0x23, 5, 0x29, 0x02, 0x24, 0x20,
    ]);
    write(device, 0, 0);
    write(device, 1, 0x11);
    expect(read(device, 1)).toBe(0x57);
    expect(at(device, 0x80)).toBe(0x11);
  });

  test("an update is in progress during the last 8/32768 s of a second", () => {
    const device = cmos();
    now = 1000;
    expect(at(device, 0x0a)).toBe(0x20);
    now = 1000.9997;
    expect(at(device, 0x0a)).toBe(0x20);
    now = 1000.9998;
    expect(at(device, 0x0a)).toBe(0xa0);
  });

  test("status, RAM and the index itself", () => {
    const device = cmos();
    expect([0x0b, 0x0c, 0x0d].map((index) => at(device, index))).toEqual([0, 0, 0x80]);
    write(device, 0, 0x7f);
    write(device, 1, 0x5a);
    expect([read(device, 0), read(device, 1), at(device, 0xff)]).toEqual([0x7f, 0x5a, 0x5a]);
    expect(read(device, 0, 2)).toBe(UNANSWERED);
  });

  test("tells the size of RAM, capped", () => {
    const size = (device: Cmos) => [0x34, 0x35, 0x5b, 0x5c, 0x5d].map((index) => at(device, index));
    expect(size(cmos(64 * 1024 * 1024))).toEqual([0x00, 0x03, 0, 0, 0]);
    expect(size(cmos(8 * 1024 * 1024))).toEqual([0, 0, 0, 0, 0]);
    expect(size(cmos(3 * GIB, 2 * GIB))).toEqual([0x00, 0xbf, 0x00, 0x80, 0x00]);
    expect(size(cmos(3 * GIB, 2048 * 1024 * GIB))).toEqual([0x00, 0xbf, 0xff, 0xff, 0xff]);
  });

  test("0 at index 8Fh resets, and nothing else does", () => {
    const device = cmos();
    requests.asked.length = 0;
    for (const [index, value] of [
      [0x0f, 0],
      [0x8f, 1],
      [0x8e, 0],
    ] as const) {
      write(device, 0, index);
      write(device, 1, value);
    }
    expect(requests.asked).toEqual([]);
    write(device, 0, 0x8f);
    write(device, 1, 0);
    expect(requests.asked).toEqual(["reset"]);
  });

  test("survives every access and restores what it saved", () => {
    const device = cmos();
    hammer(device, 2);
    write(device, 0, 0x40);
    write(device, 1, 0x99);
    const saved = device.save();
    device.reset();
    device.restore(saved);
    expect([read(device, 0), read(device, 1)]).toEqual([0x40, 0x99]);
  });
});

test("i8042: enough to end PIT loops and to reset", () => {
  const requests = new RecordedRequests();
  const device = new I8042(requests);
  expect([0, 1, 2, 3].map((offset) => read(device, offset))).toEqual([0x20, UNANSWERED, UNANSWERED, 0]);
  write(device, 3, 0xd1);
  write(device, 0, 0xfe);
  write(device, 3, 0xfe, 2);
  expect(requests.asked).toEqual([]);
  write(device, 3, 0xfe);
  expect(requests.asked).toEqual(["reset"]);
});

test("debug port: logs code, class and age", () => {
  const lines: string[] = [];
  const device = new DebugPort(
    1e9,
    (line) => lines.push(line),
    () => 3.5e9,
  );
  for (const code of [0x00, 0x20, 0x41, 0x60, 0x80, 0xff]) write(device, 0, code);
  expect(lines).toEqual([
    "debug port: code 0x00 (firmware) after 2.500000 s",
    "debug port: code 0x20 (bootloader) after 2.500000 s",
    "debug port: code 0x41 (kernel) after 2.500000 s",
    "debug port: code 0x60 (userspace) after 2.500000 s",
    "debug port: code 0x80 (custom) after 2.500000 s",
    "debug port: code 0xff (custom) after 2.500000 s",
  ]);
  hammer(device, 1);
});

test("firmware debug: present, and a sink of single bytes", () => {
  const out: number[] = [];
  const device = new FirmwareDebug({ write: (byte) => out.push(byte) });
  expect(read(device, 0)).toBe(0xe9);
  write(device, 0, 0x41);
  write(device, 0, 0x4142, 2);
  expect(out).toEqual([0x41]);
});

test("debug console: takes all bytes of an access in memory order", () => {
  const out: number[] = [];
  const device = new DebugConsole({ write: (byte) => out.push(byte) });
  write(device, 0, 0x41);
  write(device, 0, 0x4342, 2);
  write(device, 0, 0xc7464544, 4);
  expect(out).toEqual([0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0xc7]);
  expect(read(device, 0)).toBe(UNANSWERED);
});

test("ACPI power register: 1 resets, 34h powers off, the rest does nothing", () => {
  const requests = new RecordedRequests();
  const device = new AcpiPower(requests);
  expect(read(device, 0)).toBe(0);
  for (let value = 0; value < 256; value++) if (value !== 1 && value !== 0x34) write(device, 0, value);
  write(device, 0, 1, 2);
  write(device, 1, 1);
  expect(requests.asked).toEqual([]);
  write(device, 0, 1);
  write(device, 0, 0x34);
  expect(requests.asked).toEqual(["reset", "power-off"]);
});

describe("PM timer", () => {
  test("counts 3.579545 MHz, modulo 2^32, in 4-byte reads", () => {
    let now = 5e9;
    const device = new PmTimer(block(PmTimer.blockSize), 5e9, () => now);
    device.reset();
    expect(read(device, 0, 4)).toBe(0);
    now += 1e9;
    expect(read(device, 0, 4)).toBe(3_579_545);
    now = 5e9 + 1200e9;
    expect(read(device, 0, 4)).toBe((3_579_545 * 1200) % 2 ** 32);
    expect([read(device, 0, 1), read(device, 0, 2), read(device, 2, 4)]).toEqual([UNANSWERED, UNANSWERED, UNANSWERED]);
    hammer(device, 4);
  });

  test("goes on from the saved count on a machine created at another time", () => {
    let now = 100e9;
    const first = new PmTimer(block(PmTimer.blockSize), 90e9, () => now);
    first.reset();
    const saved = first.save();
    expect(read(first, 0, 4)).toBe(35_795_450);
    now = 7e9;
    const second = new PmTimer(block(PmTimer.blockSize), 2e9, () => now);
    second.reset();
    second.restore(saved);
    expect(read(second, 0, 4)).toBe(35_795_450);
    now = 8e9;
    expect(read(second, 0, 4)).toBe(35_795_450 + 3_579_545);
  });
});

test("GED: events gather until read, each with an edge", () => {
  const line = new CountingLine();
  const memory = block(Ged.blockSize);
  const device = new Ged(memory, line);
  device.reset();
  expect(read(device, 0)).toBe(0);
  device.notify(GedEvent.POWER_BUTTON);
  new Ged(memory, line).notify(GedEvent.CPU_HOTPLUG);
  expect(line.edges).toBe(2);
  write(device, 0, 0);
  expect(read(device, 0, 4)).toBe(UNANSWERED);
  expect([read(device, 0), read(device, 0)]).toEqual([0x09, 0]);
});

test("CPU controller: boot CPUs are present, acknowledgements clear, the rest is ignored", () => {
  const device = new CpuHotplug(block(CpuHotplug.blockSize(4)), 2, 4);
  device.reset();
  const status = (index: number) => {
    write(device, 0, index, 4);
    return read(device, 4);
  };
  expect([0, 1, 2, 3, 4, 0xffff_ffff].map(status)).toEqual([1, 1, 0, 0, 0, 0]);
  expect(read(device, 0, 4)).toBe(0xffff_ffff);
  write(device, 0, 1, 4);
  write(device, 4, 0x0e);
  write(device, 0, 0, 1);
  expect([read(device, 0, 4), read(device, 4), read(device, 4, 4), read(device, 5), read(device, 8, 4)]).toEqual([
    1, 1, 0, 0, 0,
  ]);
  hammer(device, 12);
  expect(status(1)).toBe(1);
});

test("PCI controller: bitmaps of the selected segment are read once, ejections are passed on", () => {
  const ejected: string[] = [];
  const memory = block(PciHotplug.blockSize);
  const device = new PciHotplug(memory, 3, (segment, slot) => ejected.push(`${segment}.${slot}`));
  const other = new PciHotplug(memory, 3, () => undefined);
  const registers = () => [0, 4, 8, 0xc].map((offset) => read(device, offset, 4));
  device.reset();
  write(device, 0xc, 2, 4);
  write(device, 0xc, 3, 4);
  write(device, 0xc, 1, 1);
  expect(registers()).toEqual([0, 0, 0, 2]);
  other.plugged(2, 31);
  other.plugged(2, 1);
  other.plugged(0, 3);
  other.requestEject(2, 4);
  const saved = device.save();
  expect(read(device, 0, 1)).toBe(UNANSWERED);
  expect(registers()).toEqual([0x8000_0002, 0x10, 0, 2]);
  expect(registers()).toEqual([0, 0, 0, 2]);
  other.plugged(2, 5);
  other.requestEject(2, 5);
  other.requestEject(2, 6);
  other.forget(2, 5);
  expect(registers()).toEqual([0, 0x40, 0, 2]);
  write(device, 8, 0x8000_0001, 4);
  write(device, 8, 0xff, 1);
  expect(ejected).toEqual(["2.0", "2.31"]);
  write(device, 0xc, 0, 4);
  expect(registers()).toEqual([8, 0, 0, 0]);
  device.restore(saved);
  expect(registers()).toEqual([0x8000_0002, 0x10, 0, 2]);
  expect(() => new PciHotplug(block(PciHotplug.blockSize), 1, () => undefined).restore(saved)).toThrow(RangeError);
  hammer(device, 16);
});
