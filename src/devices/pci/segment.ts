import { atomic32, struct, u32s, type ViewOf } from "../../host/struct.ts";
import { type BlockRef, blockAt } from "../../threads/block-ref.ts";
import { Lock } from "../../threads/lock.ts";
import type { Bus, BusAccess, BusDevice } from "../bus.ts";
import { type AddressRange, type Bar, type BarKind, type BarLayout, type BarMover, overlap } from "./bar.ts";
import type { PciFunction } from "./function.ts";

/** Devices on the one bus of a segment. */
export const PCI_SLOTS = 32;

const HIGH = 0x1_0000_0000;

/** What a slot goes through, for functions that are plugged in. */
const Occupancy = {
  EMPTY: 0,
  FILLED: 1,
  /** The guest has ejected the function: no access finds it, but its addresses are not free yet. */
  LEAVING: 2,
  COUNT: 3,
} as const;

const segmentShared = struct("PCI segment", {
  lock: atomic32,
  /** Counts the changes of what is in the slots and of where BARs are mapped. */
  generation: atomic32,
  /** By slot, how often what is in it has changed: what `Occupancy` says of that count's remainder. */
  occupancy: u32s(PCI_SLOTS),
  /** By slot, where the wiring of that function lies: address, low and high half, and bytes. */
  wirings: u32s(3 * PCI_SLOTS),
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

/** A function's BAR would lie over that of another. */
export class BarConflictError extends Error {
  override readonly name = "BarConflictError";
}

/** Makes a thread's own instance of a function that was plugged in, of its wiring. Must not use the segment. */
export type FunctionMaker = (wiring: Uint8Array) => PciFunction;

const noFunctions: FunctionMaker = () => {
  throw new RangeError("nothing can be plugged into this segment");
};

/**
 * A PCI segment as one thread sees it: a bus of single-function slots, and the BARs of their functions, which the guest
 * may move. Each thread has its own functions over shared state. What is plugged into the slots and where BARs are mapped is
 * shared: a thread that finds the segment's generation changed makes instances of functions that are new to it, forgets
 * those that are gone, and draws its map of BARs anew. So a function comes and goes for all threads at once, and no thread
 * has to be told.
 *
 * Lock order: a function's lock, then the segment's.
 */
export class PciSegment implements BarMover {
  static readonly blockSize = segmentShared.size;
  readonly number: number;
  readonly #functions: (PciFunction | undefined)[] = new Array(PCI_SLOTS).fill(undefined);
  /** By slot, what was ejected and still has its addresses. */
  readonly #leaving: (PciFunction | undefined)[] = new Array(PCI_SLOTS).fill(undefined);
  readonly #apertures: Readonly<Record<BarKind, AddressRange>>;
  readonly #lock: Lock;
  readonly #shared: ViewOf<typeof segmentShared>;
  readonly #make: FunctionMaker;
  /** The generation that this thread has followed. */
  #followed = -1;
  /** By slot, the occupancy that this thread has followed. */
  readonly #occupancy = new Uint32Array(PCI_SLOTS);
  /** The map: BARs in the order of their addresses. */
  #starts = new Float64Array(0);
  #ends = new Float64Array(0);
  #targets: { readonly function: PciFunction; readonly bar: number }[] = [];

  /** @param make of functions that are plugged in */
  constructor(wiring: PciSegmentWiring, make: FunctionMaker = noFunctions) {
    const block = blockAt(wiring.block);
    this.number = wiring.number;
    this.#apertures = { memory32: wiring.memory32, memory64: wiring.memory64 };
    this.#lock = new Lock(block.i32, block.address);
    this.#shared = segmentShared.at(block);
    this.#make = make;
  }

  /**
   * Puts a function that never leaves into a slot, 0 to 31, in this thread's view.
   * @throws PciSlotError when it is taken, RangeError when there is none such
   */
  add(slot: number, fn: PciFunction): void {
    this.#checkFree(slot);
    this.#functions[slot] = fn;
    this.#followed = -1;
  }

  /**
   * Plugs a function into a slot, 0 to 31, for all threads. The other ones make their own instance of its wiring.
   * @param fn this thread's instance
   * @param wiring memory that stays as it is until `vacate`
   * @param connect maps the function's BARs where they are at power-on, once that is known to be free
   * @throws PciSlotError when the slot is taken, BarConflictError when an address of the function is, RangeError
   */
  plug(slot: number, fn: PciFunction, { address, size }: BlockRef, connect?: () => void): void {
    this.#locked(() => {
      this.#follow();
      this.#checkFree(slot);
      for (const bar of fn.bars)
        if (!this.#isFree(bar, bar.address))
          throw new BarConflictError(
            `the guest has moved a BAR to where BAR ${bar.index} of slot ${slot} was to be: try again`,
          );
      connect?.();
      const { occupancy, wirings } = this.#shared;
      wirings.set([address % HIGH, Math.floor(address / HIGH), size], 3 * slot);
      this.#functions[slot] = fn;
      this.#occupancy[slot] = occupancy[slot] = (occupancy[slot] ?? 0) + 1;
      this.remapped();
    });
  }

  /**
   * Takes the function that was plugged into a slot away, for all threads: no access finds it from now on, while those that
   * are under way on other threads may go on. It keeps its addresses until `vacate`.
   * @returns whether there was one
   */
  eject(slot: number): boolean {
    return this.#advance(slot, Occupancy.FILLED);
  }

  /** Frees the slot and the addresses of a function that was ejected. No thread may be at an access to it any more. */
  vacate(slot: number): void {
    this.#advance(slot, Occupancy.LEAVING);
  }

  /** The function in a slot. */
  at(slot: number): PciFunction | undefined {
    this.#keepUp();
    return this.#functions[slot];
  }

  /** By slot, what is there. */
  get functions(): readonly (PciFunction | undefined)[] {
    this.#keepUp();
    return this.#functions;
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
    return this.#locked(() => {
      this.#follow();
      const isHere = this.#functions.some((fn) => fn?.bars.includes(bar));
      if (!isHere || !this.#isFree(bar, address)) return false;
      bar.remap(address);
      this.remapped();
      return true;
    });
  }

  remapped(): void {
    Atomics.add(this.#shared.generation, 0, 1);
  }

  /** Which of the mapped BARs holds `address`: an index for `target` and `start`, or -1. */
  find(address: number): number {
    this.#keepUp();
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

  #checkFree(slot: number): void {
    if (!Number.isInteger(slot) || slot < 0 || slot >= PCI_SLOTS) throw new RangeError(`PCI slot ${slot}`);
    if (this.#functions[slot] !== undefined)
      throw new PciSlotError(`slot ${slot} of PCI segment ${this.number} is taken`);
  }

  /** Whether nothing of another function is in the way of a BAR. */
  #isFree(bar: Bar, address: number): boolean {
    const wanted = { base: address, length: bar.size };
    return [...this.#functions, ...this.#leaving].every(
      (fn) =>
        fn === undefined ||
        ((fn.memory === undefined || !overlap(wanted, fn.memory)) &&
          fn.bars.every(
            (other) =>
              other === bar || !isMapped(other) || !overlap(wanted, { base: other.mapped, length: other.size }),
          )),
    );
  }

  /** Takes what is in a slot one step further, if it is where that is said. @returns whether it was */
  #advance(slot: number, from: number): boolean {
    return this.#locked(() => {
      const { occupancy } = this.#shared;
      const count = occupancy[slot] ?? 0;
      if (count % Occupancy.COUNT !== from) return false;
      occupancy[slot] = count + 1;
      this.remapped();
      return true;
    });
  }

  #locked<T>(act: () => T): T {
    this.#lock.acquire();
    try {
      return act();
    } finally {
      this.#lock.release();
    }
  }

  #keepUp(): void {
    if (Atomics.load(this.#shared.generation, 0) !== this.#followed) this.#locked(() => this.#follow());
  }

  /** Brings this thread's view up to date. Needs the lock. */
  #follow(): void {
    const generation = Atomics.load(this.#shared.generation, 0);
    if (generation === this.#followed) return;
    this.#shared.occupancy.forEach((occupancy, slot) => {
      if (occupancy === this.#occupancy[slot]) return;
      const seen = this.#occupancy[slot] ?? 0;
      const state = occupancy % Occupancy.COUNT;
      const known = occupancy === seen + 1 && state === Occupancy.LEAVING ? this.#functions[slot] : undefined;
      const fn = state === Occupancy.EMPTY ? undefined : (known ?? this.#make(this.#wiringAt(slot)));
      this.#functions[slot] = state === Occupancy.FILLED ? fn : undefined;
      this.#leaving[slot] = state === Occupancy.LEAVING ? fn : undefined;
      this.#occupancy[slot] = occupancy;
    });
    this.#map();
    this.#followed = generation;
  }

  #wiringAt(slot: number): Uint8Array {
    const [low = 0, high = 0, size = 0] = this.#shared.wirings.subarray(3 * slot, 3 * slot + 3);
    return blockAt({ address: low + high * HIGH, size }).u8;
  }

  #map(): void {
    const found: { start: number; end: number; target: { function: PciFunction; bar: number } }[] = [];
    for (const fn of this.#functions)
      for (const { index, mapped, size } of fn?.bars ?? [])
        if (fn !== undefined) found.push({ start: mapped, end: mapped + size, target: { function: fn, bar: index } });
    found.sort((a, b) => a.start - b.start);
    this.#starts = Float64Array.from(found, ({ start }) => start);
    this.#ends = Float64Array.from(found, ({ end }) => end);
    this.#targets = found.map(({ target }) => target);
  }
}

/** A BAR has no address until its function has been reset: no aperture starts at 0. */
const isMapped = ({ mapped }: Bar): boolean => mapped !== 0;

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
