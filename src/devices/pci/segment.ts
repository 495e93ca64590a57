import { atomic32, struct, type ViewOf } from "../../host/struct.ts";
import { type BlockRef, blockAt } from "../../threads/block-ref.ts";
import { Lock } from "../../threads/lock.ts";
import type { Bus, BusAccess, BusDevice } from "../bus.ts";
import { type AddressRange, type Bar, type BarKind, type BarLayout, type BarMover, overlap } from "./bar.ts";
import type { PciFunction } from "./function.ts";

/** Devices on the one bus of a segment. */
export const PCI_SLOTS = 32;

const segmentShared = struct("PCI segment", {
  lock: atomic32,
  /** Counts the changes of where BARs are mapped. */
  generation: atomic32,
});

/** A PCI segment as plain data. */
export interface PciSegmentWiring {
  readonly number: number;
  /** `PciSegment.blockSize` bytes. */
  readonly block: BlockRef;
  /** Where 32-bit and 64-bit BARs may lie. */
  readonly memory32: AddressRange;
  readonly memory64: AddressRange;
}

/** Two functions in one slot. */
export class PciSlotError extends Error {
  override readonly name = "PciSlotError";
}

/**
 * A PCI segment as one thread sees it: a bus of single-function slots, and the BARs of their functions, which the guest
 * may move. Each thread has its own functions over shared state; where BARs are mapped is shared, and each thread's map of
 * them is made anew when the segment's generation has changed.
 *
 * Lock order: a function's lock, then the segment's.
 */
export class PciSegment implements BarMover {
  static readonly blockSize = segmentShared.size;
  readonly number: number;
  readonly #functions: (PciFunction | undefined)[] = new Array(PCI_SLOTS).fill(undefined);
  readonly #apertures: Readonly<Record<BarKind, AddressRange>>;
  readonly #lock: Lock;
  readonly #shared: ViewOf<typeof segmentShared>;
  /** The map: BARs in the order of their addresses, as of `#mapGeneration`. */
  #mapGeneration = -1;
  #starts = new Float64Array(0);
  #ends = new Float64Array(0);
  #targets: { readonly function: PciFunction; readonly bar: number }[] = [];

  constructor(wiring: PciSegmentWiring) {
    const block = blockAt(wiring.block);
    this.number = wiring.number;
    this.#apertures = { memory32: wiring.memory32, memory64: wiring.memory64 };
    this.#lock = new Lock(block.i32, block.address);
    this.#shared = segmentShared.at(block);
  }

  /** Puts a function into a slot, 0 to 31. @throws PciSlotError when it is taken, RangeError when there is none such */
  add(slot: number, fn: PciFunction): void {
    if (!Number.isInteger(slot) || slot < 0 || slot >= PCI_SLOTS) throw new RangeError(`PCI slot ${slot}`);
    if (this.#functions[slot] !== undefined)
      throw new PciSlotError(`slot ${slot} of PCI segment ${this.number} is taken`);
    this.#functions[slot] = fn;
    this.#mapGeneration = -1;
  }

  /** Empties a slot, in this thread's view. */
  remove(slot: number): void {
    this.#functions[slot] = undefined;
    this.#mapGeneration = -1;
  }

  /** The function in a slot. */
  at(slot: number): PciFunction | undefined {
    return this.#functions[slot];
  }

  /** Claims the apertures: accesses there reach the BARs. @throws BusConflictError */
  attach(mmio: Bus): void {
    for (const { base, length } of Object.values(this.#apertures))
      if (length > 0) mmio.add(base, length, new BarWindow(this, base));
  }

  allows({ kind, size }: BarLayout, address: number): boolean {
    const { base, length } = this.#apertures[kind];
    return address >= base && address + size <= base + length && address % size === 0;
  }

  move(bar: Bar, address: number): boolean {
    if (!this.allows(bar, address)) return false;
    this.#lock.acquire();
    try {
      const wanted = { base: address, length: bar.size };
      const free = this.#functions.every(
        (fn) =>
          fn === undefined ||
          ((fn.memory === undefined || !overlap(wanted, fn.memory)) &&
            fn.bars.every((other) => other === bar || !overlap(wanted, { base: other.mapped, length: other.size }))),
      );
      if (free) {
        bar.remap(address);
        Atomics.add(this.#shared.generation, 0, 1);
      }
      return free;
    } finally {
      this.#lock.release();
    }
  }

  remapped(): void {
    Atomics.add(this.#shared.generation, 0, 1);
  }

  /** Which of the mapped BARs holds `address`: an index for `target` and `start`, or -1. */
  find(address: number): number {
    if (Atomics.load(this.#shared.generation, 0) !== this.#mapGeneration) this.#map();
    const starts = this.#starts;
    let low = 0;
    let high = starts.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      if (address < (starts[middle] ?? 0)) high = middle - 1;
      else if (address >= (this.#ends[middle] ?? 0)) low = middle + 1;
      else return middle;
    }
    return -1;
  }

  /** The function and BAR of an index that `find` gave. */
  target(index: number): { readonly function: PciFunction; readonly bar: number } | undefined {
    return this.#targets[index];
  }

  /** The first address of the BAR of an index that `find` gave. */
  start(index: number): number {
    return this.#starts[index] ?? 0;
  }

  #map(): void {
    this.#lock.acquire();
    this.#mapGeneration = Atomics.load(this.#shared.generation, 0);
    const found: { start: number; end: number; target: { function: PciFunction; bar: number } }[] = [];
    for (const fn of this.#functions)
      for (const { index, mapped, size } of fn?.bars ?? [])
        if (fn !== undefined) found.push({ start: mapped, end: mapped + size, target: { function: fn, bar: index } });
    this.#lock.release();
    found.sort((a, b) => a.start - b.start);
    this.#starts = Float64Array.from(found, ({ start }) => start);
    this.#ends = Float64Array.from(found, ({ end }) => end);
    this.#targets = found.map(({ target }) => target);
  }
}

/** An aperture on the MMIO bus: finds the BAR that an access is meant for. */
class BarWindow implements BusDevice {
  readonly #segment: PciSegment;
  readonly #base: number;

  constructor(segment: PciSegment, base: number) {
    this.#segment = segment;
    this.#base = base;
  }

  read(access: BusAccess): void {
    const address = this.#base + access.offset;
    const index = this.#segment.find(address);
    const target = this.#segment.target(index);
    if (target === undefined) return;
    access.offset = address - this.#segment.start(index);
    target.function.readBar(target.bar, access);
  }

  write(access: BusAccess): void {
    const address = this.#base + access.offset;
    const index = this.#segment.find(address);
    const target = this.#segment.target(index);
    if (target === undefined) return;
    access.offset = address - this.#segment.start(index);
    target.function.writeBar(target.bar, access);
  }
}
