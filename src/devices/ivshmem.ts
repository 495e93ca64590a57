import type { BlockRef } from "../threads/block-ref.ts";
import type { BusAccess } from "./bus.ts";
import type { MemorySlots } from "./memory-slots.ts";
import type { Bar, BarMover } from "./pci/bar.ts";
import { ConfigLayout } from "./pci/config-layout.ts";
import { PlainFunction } from "./pci/plain-function.ts";

const VENDOR_REDHAT_QUMRANET = 0x1af4;
const DEVICE_IVSHMEM = 0x1110;
const CLASS_MEMORY = 0x05;
const SUBCLASS_RAM = 0x00;

/** Bytes of BAR 0: the registers, of which the variant without interrupts has none that do anything. */
export const IVSHMEM_REGISTER_BYTES = 0x100;
const REGISTERS = 0;
const MEMORY = 2;

/** A shared memory device as plain data. */
export interface IvshmemWiring {
  readonly id: string;
  /** `Ivshmem.blockSize` bytes. */
  readonly block: BlockRef;
  /** BAR 0 at power-on: 32-bit, `IVSHMEM_REGISTER_BYTES`. */
  readonly bar0: number;
  /** BAR 2 at power-on: 64-bit, `size` bytes. */
  readonly bar2: number;
  /** Bytes, a power of two. */
  readonly size: number;
  /** Where the shared file is mapped in this process. */
  readonly hva: number;
  /** The memory slot that follows BAR 2. */
  readonly memorySlot: number;
}

/**
 * Memory that several machines and processes share (QEMU, docs/specs/ivshmem-spec.rst: ivshmem-plain): BAR 2 is a file,
 * mapped into the guest. There are neither interrupts nor doorbells.
 */
export class Ivshmem extends PlainFunction {
  readonly #wiring: IvshmemWiring;
  readonly #slots: MemorySlots;

  constructor(wiring: IvshmemWiring, host: { readonly mover: BarMover; readonly memorySlots: MemorySlots }) {
    super(layoutOf(wiring), wiring.block, host.mover, ({ index }, _from, to) => {
      if (index !== MEMORY) return;
      this.#slots.clear(wiring.memorySlot);
      this.#fill(to);
    });
    this.#wiring = wiring;
    this.#slots = host.memorySlots;
  }

  /** Conditions as for `restore`: once in the life of a machine. @throws SysError */
  override reset(): void {
    super.reset();
    this.#fillWhereMapped();
  }

  /** @throws RangeError, SysError */
  override restore(saved: Uint8Array): void {
    super.restore(saved);
    this.#fillWhereMapped();
  }

  /** @throws SysError */
  override unplug(): void {
    this.#slots.clear(this.#wiring.memorySlot);
  }

  /** The registers read as 0. The memory is the guest's without an exit, but for the moment in which another vCPU moves it. */
  readBar(bar: number, access: BusAccess): void {
    if (bar !== REGISTERS) return;
    access.lo = 0;
    access.hi = 0;
  }

  writeBar(): void {}

  #fillWhereMapped(): void {
    const bar: Bar | undefined = this.bars.find(({ index }) => index === MEMORY);
    if (bar !== undefined) this.#fill(bar.mapped);
  }

  #fill(gpa: number): void {
    const { memorySlot, size, hva } = this.#wiring;
    this.#slots.fill(memorySlot, gpa, size, hva);
  }
}

function layoutOf({ bar0, bar2, size }: IvshmemWiring): ConfigLayout {
  const layout = new ConfigLayout({
    vendor: VENDOR_REDHAT_QUMRANET,
    device: DEVICE_IVSHMEM,
    subsystemVendor: VENDOR_REDHAT_QUMRANET,
    subsystem: DEVICE_IVSHMEM,
    revision: 1,
    baseClass: CLASS_MEMORY,
    subclass: SUBCLASS_RAM,
  });
  layout.addBar({ index: REGISTERS, kind: "memory32", size: IVSHMEM_REGISTER_BYTES, address: bar0 });
  layout.addBar({ index: MEMORY, kind: "memory64", size, prefetchable: true, address: bar2 });
  return layout;
}
