import { describe, expect, test } from "bun:test";
import { Bus, BusAccess } from "../../../../src/devices/bus.ts";
import type { Bar, BarKind } from "../../../../src/devices/pci/bar.ts";
import { BarAllocator, BarSpaceError } from "../../../../src/devices/pci/bar-allocator.ts";
import { ConfigLayout } from "../../../../src/devices/pci/config-layout.ts";
import { PciConfigPorts } from "../../../../src/devices/pci/config-ports.ts";
import { ConfigSpace, configSpaceState } from "../../../../src/devices/pci/config-space.ts";
import { ECAM_BYTES, Ecam } from "../../../../src/devices/pci/ecam.ts";
import type { PciFunction } from "../../../../src/devices/pci/function.ts";
import { HostBridge } from "../../../../src/devices/pci/host-bridge.ts";
import { BarConflictError, PciSegment, PciSlotError } from "../../../../src/devices/pci/segment.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import type { BlockRef } from "../../../../src/threads/block-ref.ts";
import { refTo } from "../../../../src/threads/block-ref.ts";

const M32 = { base: 0xc000_0000, length: 0x2800_0000 };
const M64 = { base: 0x1_0000_0000, length: 0x3ffe_0000_0000 };
const ECAM = 0xe800_0000;
const SIZE = 0x1000;

/** A function with one BAR whose registers say which function was reached, and where. */
class Probe implements PciFunction {
  readonly #config: ConfigSpace;
  readonly #name: number;
  readonly bars: readonly Bar[];
  last = "";

  constructor(name: number, state: BlockRef, segment: PciSegment, kind: BarKind, address: number) {
    const ids = { vendor: 0x1234, device: name, subsystemVendor: 0, subsystem: 0, revision: 0 };
    const layout = new ConfigLayout({ ...ids, baseClass: 8, subclass: 0x80 });
    layout.addBar({ index: 0, kind, size: SIZE, address });
    this.#config = new ConfigSpace(layout, configSpaceState.at(memoryOf(state)), segment);
    this.#name = name;
    this.bars = this.#config.bars;
  }

  reset(): void {
    this.#config.reset();
  }

  readConfig(offset: number, size: number): number {
    return this.#config.read(offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.#config.write(offset, size, value);
  }

  readBar(bar: number, access: BusAccess): void {
    access.lo = this.#name * 0x1_0000 + bar * 0x1000 + access.offset;
  }

  writeBar(bar: number, access: BusAccess): void {
    this.last = `${bar}+${access.offset.toString(16)} = ${access.lo.toString(16)}`;
  }
}

const blocks = new Map<number, ReturnType<typeof mapAnonymous>>();
function block(size: number): BlockRef {
  const memory = mapAnonymous(size);
  blocks.set(memory.address, memory);
  return refTo(memory);
}
function memoryOf({ address }: BlockRef): ReturnType<typeof mapAnonymous> {
  const memory = blocks.get(address);
  if (memory === undefined) throw new Error("no such block");
  return memory;
}

/** Shared blocks, and the views of one thread over them. */
function machine(): { thread: () => Thread } {
  const shared = {
    segment: block(PciSegment.blockSize),
    ports: block(PciConfigPorts.blockSize),
    bridge: block(HostBridge.blockSize),
    probes: [1, 2, 3].map(() => block(configSpaceState.size)),
  };
  const thread = (): Thread => {
    const segment: PciSegment = new PciSegment(
      { number: 0, block: shared.segment, memory32: M32, memory64: M64 },
      // What is plugged in names its block, and says itself which it is: here, whose turn it is.
      (wiring) => {
        const address = new DataView(wiring.buffer, wiring.byteOffset).getFloat64(0);
        return new Probe(
          9 + plugged++,
          { address, size: configSpaceState.size },
          segment,
          "memory64",
          M64.base + 0x10_0000,
        );
      },
    );
    let plugged = 0;
    const bridge = new HostBridge(shared.bridge);
    segment.add(0, bridge);
    const places: [BarKind, number][] = [
      ["memory32", M32.base + 0x1000],
      ["memory32", M32.base + 0x8000],
      ["memory64", M64.base],
    ];
    const probes = shared.probes.map((state, i) => {
      const [kind, address] = places[i] ?? ["memory32", 0];
      const probe = new Probe(i + 1, state, segment, kind, address);
      segment.add(i + 1, probe);
      return probe;
    });
    const mmio = new Bus();
    segment.attach(mmio);
    mmio.add(ECAM, ECAM_BYTES, new Ecam(segment));
    const ports = new Bus();
    const configPorts = new PciConfigPorts(shared.ports, segment);
    ports.add(0xcf8, 8, configPorts);
    return { segment, bridge, probes, mmio, ports, configPorts };
  };
  const first = thread();
  first.bridge.reset();
  for (const probe of first.probes) probe.reset();
  first.configPorts.reset();
  return { thread };
}

interface Thread {
  readonly segment: PciSegment;
  readonly bridge: HostBridge;
  readonly probes: readonly Probe[];
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly configPorts: PciConfigPorts;
}

const access = new BusAccess();
function read(bus: Bus, address: number, size = 4): number {
  access.size = size;
  bus.read(address, access);
  return size === 4 ? access.lo : access.lo % 2 ** (8 * size);
}
function write(bus: Bus, address: number, value: number, size = 4): void {
  Object.assign(access, { size, lo: value, hi: 0 });
  bus.write(address, access);
}

describe("configuration access", () => {
  const select = ({ ports }: Thread, slot: number, register: number, bus = 0, fn = 0, enable = 0x8000_0000): void =>
    write(ports, 0xcf8, (enable + bus * 0x1_0000 + slot * 0x800 + fn * 0x100 + register) >>> 0);

  test("ports: enable bit, bus, slot, function and register select", () => {
    const thread = machine().thread();
    const { ports } = thread;
    select(thread, 0, 0);
    expect(read(ports, 0xcfc)).toBe(0x0d57_8086);
    expect(read(ports, 0xcfe, 2)).toBe(0x0d57);
    expect(read(ports, 0xcff, 1)).toBe(0x0d);
    expect(read(ports, 0xcf8)).toBe(0x8000_0000);
    select(thread, 2, 0);
    expect(read(ports, 0xcfc)).toBe(0x0002_1234);
    for (const [slot, bus, fn, enable] of [
      [2, 1, 0, 0x8000_0000],
      [2, 0, 1, 0x8000_0000],
      [2, 0, 0, 0],
      [9, 0, 0, 0x8000_0000],
    ] as const) {
      select(thread, slot, 0, bus, fn, enable);
      expect(read(ports, 0xcfc)).toBe(0xffff_ffff);
    }
  });

  test("ports: writes look at the enable bit and the bus but not at the function", () => {
    const thread = machine().thread();
    const line = (): number => thread.probes[0]?.readConfig(0x3c, 1) ?? -1;
    select(thread, 1, 0x3c, 0, 5);
    write(thread.ports, 0xcfc, 0x11, 1);
    expect(line()).toBe(0x11);
    select(thread, 1, 0x3c, 1);
    write(thread.ports, 0xcfc, 0x22, 1);
    select(thread, 1, 0x3c, 0, 0, 0);
    write(thread.ports, 0xcfc, 0x33, 1);
    expect(line()).toBe(0x11);
  });

  test("ports: CONFIG_ADDRESS by bytes and words, shared by all vCPUs, saved and restored", () => {
    const { thread } = machine();
    const a = thread();
    const b = thread();
    write(a.ports, 0xcf8, 0x08, 1);
    write(a.ports, 0xcf9, 0x10, 1);
    write(b.ports, 0xcfa, 0x8000, 2);
    expect(read(b.ports, 0xcf8)).toBe(0x8000_1008);
    expect(read(b.ports, 0xcfa, 2)).toBe(0x8000);
    expect(read(a.ports, 0xcff, 1)).toBe(0x08);
    expect(read(a.ports, 0xcfb, 2)).toBe(0xffff);
    expect(read(a.ports, 0xcff, 2)).toBe(0xffff);
    const saved = a.configPorts.save();
    const fresh = machine().thread();
    fresh.configPorts.restore(saved);
    expect(read(fresh.ports, 0xcfc)).toBe(0x0880_0000);
  });

  test("ECAM: slot and register from the address, the function is not looked at", () => {
    const { mmio } = machine().thread();
    expect(read(mmio, ECAM)).toBe(0x0d57_8086);
    expect(read(mmio, ECAM + 0x8000)).toBe(0x0001_1234);
    expect(read(mmio, ECAM + 0x8000 + 0x5000)).toBe(0x0001_1234);
    expect(read(mmio, ECAM + 0x8002, 2)).toBe(0x0001);
    expect(read(mmio, ECAM + 0x8003, 1)).toBe(0x00);
    expect(read(mmio, ECAM + 0x8000 + 0xffc)).toBe(0);
    expect(read(mmio, ECAM + 0x8000 * 20)).toBe(0xffff_ffff);
    expect(read(mmio, ECAM + 0x8003, 2)).toBe(0xffff);
    expect(read(mmio, ECAM + 0x8000, 8)).toBe(0xffff_ffff + 0);
    write(mmio, ECAM + 0x803c, 0x1234, 2);
    write(mmio, ECAM + 0x803d, 0xffff_ffff, 4);
    write(mmio, ECAM + 0x803c, 0xffff_ffff, 8);
    expect(read(mmio, ECAM + 0x803c)).toBe(0x34);
  });

  test("the host bridge is nothing but an identity", () => {
    const { bridge, mmio } = machine().thread();
    expect([0x00, 0x04, 0x08, 0x0c, 0x10, 0x34].map((register) => read(mmio, ECAM + register))).toEqual([
      0x0d57_8086, 0, 0x0600_0000, 0, 0, 0,
    ]);
    write(mmio, ECAM + 0x10, 0xffff_ffff);
    expect(read(mmio, ECAM + 0x10)).toBe(0);
    write(mmio, ECAM + 4, 7, 2);
    const saved = bridge.save();
    const other = machine().thread();
    other.bridge.restore(saved);
    expect(read(other.mmio, ECAM + 4)).toBe(7);
  });
});

describe("slots", () => {
  test("one function each", () => {
    const { segment, probes, mmio } = machine().thread();
    const [probe] = probes;
    if (probe === undefined) throw new Error("no probe");
    expect(() => segment.add(1, probe)).toThrow(PciSlotError);
    expect(() => segment.add(32, probe)).toThrow(RangeError);
    expect(() => segment.plug(1, probe, block(8))).toThrow(PciSlotError);
    expect(() => segment.plug(32, probe, block(8))).toThrow(RangeError);
    expect(read(mmio, M32.base + 0x1000)).toBe(0x1_0000);
  });

  test("a function that is plugged in is there for all threads, and gone for all when it is ejected", () => {
    const { thread } = machine();
    const [a, b] = [thread(), thread()];
    const place = ["memory64", M64.base + 0x10_0000] as const;
    for (let round = 0; round < 3; round++) {
      const state = block(configSpaceState.size);
      const wiring = block(8);
      memoryOf(wiring).view.setFloat64(0, state.address);
      const fn = new Probe(9 + round, state, a.segment, ...place);
      expect(read(b.mmio, ECAM + 0x2_8000)).toBe(0xffff_ffff);
      a.segment.plug(5, fn, wiring, () => fn.reset());
      expect(() => a.segment.plug(5, fn, wiring)).toThrow(PciSlotError);
      expect(a.segment.at(5)).toBe(fn);
      expect(b.segment.at(5)).not.toBe(fn);
      for (const { mmio } of [a, b]) {
        expect(read(mmio, ECAM + 0x2_8002, 2)).toBe(9 + round);
        expect(read(mmio, place[1] + 8)).toBe((9 + round) * 0x1_0000 + 8);
      }
      expect(b.segment.eject(5)).toBe(true);
      expect(a.segment.eject(5)).toBe(false);
      const next = new Probe(99, block(configSpaceState.size), a.segment, ...place);
      expect(() => a.segment.plug(6, next, wiring)).toThrow(BarConflictError);
      for (const { mmio } of [a, b]) {
        expect(read(mmio, ECAM + 0x2_8000)).toBe(0xffff_ffff);
        expect(read(mmio, place[1] + 8)).toBe(0xffff_ffff);
      }
      a.segment.vacate(5);
    }
  });

  test("functions that were not plugged in cannot be ejected", () => {
    const { segment, mmio } = machine().thread();
    for (let slot = 0; slot < 32; slot++) expect(segment.eject(slot)).toBe(false);
    expect(read(mmio, ECAM) & 0xffff).toBe(0x8086);
    expect(read(mmio, M32.base + 0x1000)).toBe(0x1_0000);
  });

  test("a function is not plugged in where the guest has moved a BAR, and BARs are not moved where it is", () => {
    const { thread } = machine();
    const [a, b] = [thread(), thread()];
    const at = M32.base + 0x4000;
    const fn = new Probe(9, block(configSpaceState.size), a.segment, "memory32", at);
    const wiring = block(8);
    memoryOf(wiring).view.setFloat64(0, 0);
    write(b.mmio, ECAM + 0x8004, 2, 2);
    write(b.mmio, ECAM + 0x8010, at);
    expect(() => a.segment.plug(5, fn, wiring, () => fn.reset())).toThrow(BarConflictError);
    expect(read(b.mmio, ECAM + 0x2_8000)).toBe(0xffff_ffff);
    write(b.mmio, ECAM + 0x8010, M32.base + 0x1000);
    a.segment.plug(5, fn, wiring, () => fn.reset());
    write(a.mmio, ECAM + 0x8010, at);
    expect(read(a.mmio, at)).toBe(9 * 0x1_0000);
    expect(read(a.mmio, M32.base + 0x1000)).toBe(0x1_0000);
  });
});

describe("BAR dispatch", () => {
  test("accesses reach the BAR that holds their address, with the offset in it", () => {
    const { mmio, probes } = machine().thread();
    expect(read(mmio, M32.base + 0x1000)).toBe(0x1_0000);
    expect(read(mmio, M32.base + 0x1fff, 1)).toBe(0xff);
    expect(read(mmio, M32.base + 0x8004)).toBe(0x2_0004);
    expect(read(mmio, M64.base + 0x10)).toBe(0x3_0010);
    for (const hole of [M32.base, M32.base + 0xfff, M32.base + 0x2000, M32.base + 0x9000, M64.base + SIZE])
      expect(read(mmio, hole)).toBe(0xffff_ffff);
    write(mmio, M64.base + 8, 0xabc);
    expect(probes[2]?.last).toBe("0+8 = abc");
  });

  test("a move by one vCPU is seen by all, and the old place is free then", () => {
    const { thread } = machine();
    const a = thread();
    const b = thread();
    expect(read(b.mmio, M32.base + 0x1000)).toBe(0x1_0000);
    write(a.mmio, ECAM + 0x8004, 2, 2);
    write(a.mmio, ECAM + 0x8010, M32.base + 0x4000);
    for (const { mmio } of [a, b]) {
      expect(read(mmio, M32.base + 0x1000)).toBe(0xffff_ffff);
      expect(read(mmio, M32.base + 0x4008)).toBe(0x1_0008);
    }
    write(b.mmio, ECAM + 0x1_0004, 2, 2);
    write(b.mmio, ECAM + 0x1_0010, M32.base + 0x1000);
    expect(read(a.mmio, M32.base + 0x1000)).toBe(0x2_0000);
  });

  test.each([
    ["another BAR is there", 0x8010, M32.base + 0x8000],
    ["it is below the aperture", 0x8010, M32.base - 0x1000],
    ["it is above the aperture", 0x8010, M32.base + M32.length],
  ])("a 32-bit BAR stays where it is when %s", (_why, register, address) => {
    const { mmio } = machine().thread();
    write(mmio, ECAM + 0x8004, 2, 2);
    write(mmio, ECAM + register, address);
    expect(read(mmio, ECAM + register)).toBe(M32.base + 0x1000);
    expect(read(mmio, M32.base + 0x1000)).toBe(0x1_0000);
  });

  test("a 64-bit BAR stays in the 64-bit aperture, up to its very end", () => {
    const { mmio } = machine().thread();
    const move = (address: number): number => {
      write(mmio, ECAM + 0x1_8010, address % 2 ** 32);
      write(mmio, ECAM + 0x1_8014, Math.floor(address / 2 ** 32));
      return ((read(mmio, ECAM + 0x1_8010) & ~0xf) >>> 0) + read(mmio, ECAM + 0x1_8014) * 2 ** 32;
    };
    write(mmio, ECAM + 0x1_8004, 2, 2);
    const end = M64.base + M64.length - SIZE;
    expect(move(M32.base)).toBe(M64.base);
    expect(move(end)).toBe(end);
    expect(read(mmio, end + 4)).toBe(0x3_0004);
    expect(move(end + SIZE)).toBe(end);
    expect(move(2 ** 63)).toBe(end);
  });
});

describe("BarAllocator", () => {
  test("takes the highest free range that is aligned", () => {
    const allocator = new BarAllocator({ base: 0x1000, length: 0x10_0800 });
    expect(allocator.allocate(0x1000, 0x1000)).toBe(0x10_0000);
    expect(allocator.allocate(0x10, 0x10)).toBe(0x10_17f0);
    expect(allocator.allocate(0x1000, 0x8_0000)).toBe(0x8_0000);
    expect(allocator.allocate(0x1000, 0x1000)).toBe(0xf_f000);
    allocator.free(0x10_0000);
    expect(allocator.allocate(0x800, 0x800)).toBe(0x10_0800);
    expect(allocator.allocate(0x7_f000, 0x1000)).toBe(0x1000);
    expect(() => allocator.allocate(0x8_0000, 0x1000)).toThrow(BarSpaceError);
  });

  test("takes the lowest free range as well, where memory is to lie near RAM", () => {
    const allocator = new BarAllocator({ base: 0x1800, length: 0x10_0000 });
    expect(allocator.allocateLow(0x1000, 0x1000)).toBe(0x2000);
    expect(allocator.allocateLow(0x800, 0x800)).toBe(0x1800);
    expect(allocator.allocateLow(0x1000, 0x4000)).toBe(0x4000);
    expect(allocator.allocateLow(0x1000, 0x1000)).toBe(0x3000);
    allocator.free(0x2000);
    expect(allocator.allocateLow(0x1000, 0x1000)).toBe(0x2000);
    expect(allocator.allocate(0x1000, 0x1000)).toBe(0x10_0000);
    expect(allocator.allocateLow(0xf_b000, 0x1000)).toBe(0x5000);
    expect(() => allocator.allocateLow(0x1000, 0x1000)).toThrow(BarSpaceError);
    expect(() => allocator.allocateLow(0x1000, 2 ** 40)).toThrow(BarSpaceError);
  });

  test("places the devices of the platform where the fact sheet says", () => {
    const m32 = new BarAllocator(M32);
    expect([m32.allocate(0x8_0000, 0x8_0000), m32.allocate(0x8_0000, 0x8_0000)]).toEqual([0xe7f8_0000, 0xe7f0_0000]);
    const m64 = new BarAllocator({ base: 2 ** 32, length: 0x3fff_fff0_0000 - 2 ** 32 });
    expect([m64.allocate(0x8_0000, 0x80_0000), m64.allocate(0x8_0000, 0x80_0000)]).toEqual([
      0x3fff_ff80_0000, 0x3fff_ff00_0000,
    ]);
  });
});
