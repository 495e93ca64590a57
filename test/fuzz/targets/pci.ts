import { Bus, BusAccess } from "../../../src/devices/bus.ts";
import { Ivshmem } from "../../../src/devices/ivshmem.ts";
import { PciConfigPorts } from "../../../src/devices/pci/config-ports.ts";
import { ECAM_BYTES, Ecam } from "../../../src/devices/pci/ecam.ts";
import { HostBridge } from "../../../src/devices/pci/host-bridge.ts";
import { PciSegment } from "../../../src/devices/pci/segment.ts";
import { Pvpanic } from "../../../src/devices/pvpanic.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { block } from "../../unit/devices/access.ts";
import { M32, M64 } from "../../unit/devices/virtio/transport-rig.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { accessOnce, playRegisters } from "../support/registers.ts";

const ECAM_BASE = 0xb000_0000;
const PORTS_BASE = 0xcf8;
const SHARED_BYTES = 0x1_0000;
const SLOT_BYTES = 0x8000;
/** Command, BARs, capabilities. */
const REGISTERS: readonly [number, ...number[]] = [4, 6, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30, 0x34, 0x3c, 0x40];

/** A guest's memory slot must follow its BAR, one at a time. */
class Slots {
  #filled: number | undefined;
  fill(_slot: number, gpa: number, size: number): void {
    if (this.#filled !== undefined) throw new Error("the slot is filled already");
    const inside = gpa >= M64.base && gpa + size <= M64.base + M64.length && gpa % size === 0;
    if (!inside) throw new Error(`memory at 0x${gpa.toString(16)}`);
    this.#filled = gpa;
  }
  clear(): void {
    this.#filled = undefined;
  }
}

export const target: FuzzTarget = {
  what: "PCI: mechanism 1, ECAM, BARs that move, and ivshmem and pvpanic behind them",
  maxBytes: 512,
  open: () => {
    const segment = new PciSegment({
      number: 0,
      block: refTo(block(PciSegment.blockSize)),
      memory32: M32,
      memory64: M64,
    });
    const ports = new PciConfigPorts(refTo(block(PciConfigPorts.blockSize)), segment);
    const slots = new Slots();
    const bridge = new HostBridge(refTo(block(HostBridge.blockSize)));
    const shared = new Ivshmem(
      {
        id: "shared",
        block: refTo(block(Ivshmem.blockSize)),
        bar0: M32.base,
        bar2: M64.base,
        size: SHARED_BYTES,
        hva: 0x1000,
        memorySlot: 1,
      },
      { mover: segment, memorySlots: slots },
    );
    const panic = new Pvpanic(
      { id: "panic", block: refTo(block(Pvpanic.blockSize)), bar0: M32.base + 0x1000 },
      { mover: segment, notify: () => undefined },
    );
    [bridge, shared, panic].forEach((fn, slot) => {
      segment.add(slot, fn);
    });
    const mmio = new Bus();
    mmio.add(ECAM_BASE, ECAM_BYTES, new Ecam(segment));
    segment.attach(mmio);
    const bus = new Bus();
    bus.add(PORTS_BASE, 8, ports);
    const ecamPlaces = [0, 1, 2].flatMap((slot) => REGISTERS.map((register) => slot * SLOT_BYTES + register));
    const ecam = { read: at(mmio, ECAM_BASE, "read"), write: at(mmio, ECAM_BASE, "write") };
    const registers = [
      { device: { read: at(bus, PORTS_BASE, "read"), write: at(bus, PORTS_BASE, "write") }, length: 8, widest: 4 },
      { device: ecam, length: ECAM_BYTES, widest: 8, places: [0, ...ecamPlaces] },
      {
        device: ecam,
        length: ECAM_BYTES,
        widest: 8,
        places: [SLOT_BYTES + 0x10, SLOT_BYTES + 0x18, SLOT_BYTES + 0x1c, 2 * SLOT_BYTES + 0x10],
      },
    ] as const;
    const functions = [
      { reset: () => slots.clear(), save: () => new Uint8Array(0), restore: () => slots.clear() },
      ...[bridge, ports, panic, shared],
    ];
    const move = (input: Input): void => moveBar(input, ecam);
    return (input) =>
      playRegisters(input, registers, functions, () => {
        if (input.bool()) move(input);
        const range = input.pick([M32, M64]);
        const base = input.bool() ? range.base : Math.floor(range.base + range.length * (input.u8() / 256));
        accessOnce(input, {
          device: { read: at(mmio, base, "read"), write: at(mmio, base, "write") },
          length: 0x2000,
          widest: 8,
        });
      });
  },
};

/** A device that is the part of a bus from an address on. */
const at =
  (bus: Bus, base: number, what: "read" | "write") =>
  (access: BusAccess): void =>
    bus[what](base + access.offset, access);

/** Moves a BAR to a place that makes sense, with or without decoding in between. */
function moveBar(input: Input, ecam: { write(access: BusAccess): void }): void {
  const write = (offset: number, lo: number): void =>
    ecam.write(Object.assign(new BusAccess(), { offset, size: 4, lo }));
  const slot = SLOT_BYTES * (1 + input.below(2));
  const decodes = input.bool();
  if (!decodes) write(slot + 4, 0);
  if (input.bool()) write(slot + 0x10, M32.base + 0x1000 * input.u8());
  else {
    write(slot + 0x1c, M64.base / 2 ** 32 + input.below(4));
    write(slot + 0x18, SHARED_BYTES * input.u8());
  }
  if (!decodes) write(slot + 4, 2);
}
