import { type BlockRef, blockAt } from "../threads/block-ref.ts";
import type { RamRegion } from "./guest-memory.ts";

/** Regions at once: every slot of a PCI bus could hold a device with one. */
const CAPACITY = 32;
/** gpa, size and hva of a region. */
const FIELDS = 3;
const REGIONS_OFFSET = 4 * CAPACITY;

/**
 * The memory that devices give the guest besides its RAM, in a block that all threads see: devices come and go while others
 * are at work. What was there once stays mapped, with nothing in it, so that an address that a thread has just looked up is
 * never another's.
 */
export class DeviceMemory {
  /** Bytes of shared memory, zeroed when the machine is new. */
  static readonly blockSize = REGIONS_OFFSET + 8 * FIELDS * CAPACITY;
  /** By entry, how often it was filled or emptied: odd while it holds a region. */
  readonly #occupancy: Int32Array;
  readonly #fields: Float64Array;

  constructor(ref: BlockRef) {
    const { i32, u8 } = blockAt(ref);
    this.#occupancy = i32.subarray(0, CAPACITY);
    this.#fields = new Float64Array(u8.buffer, u8.byteOffset + REGIONS_OFFSET, FIELDS * CAPACITY);
  }

  /** Adds a region. On the main thread. @throws RangeError when there are too many */
  add({ gpa, size, hva }: RamRegion): void {
    const entry = this.#occupancy.findIndex((count) => (count & 1) === 0);
    if (entry < 0) throw new RangeError(`more than ${CAPACITY} devices with memory`);
    this.#fields.set([gpa, size, hva], FIELDS * entry);
    Atomics.add(this.#occupancy, entry, 1);
  }

  /** Takes a region out. On the main thread. */
  remove({ gpa }: RamRegion): void {
    for (let entry = 0; entry < CAPACITY; entry++)
      if ((Atomics.load(this.#occupancy, entry) & 1) !== 0 && this.#fields[FIELDS * entry] === gpa)
        Atomics.add(this.#occupancy, entry, 1);
  }

  /** The host address of [gpa, gpa + length), or 0 where it is not wholly inside one region. Any numbers may be passed in. */
  hva(gpa: number, length: number): number {
    for (let entry = 0; entry < CAPACITY; entry++) {
      const seen = Atomics.load(this.#occupancy, entry);
      if ((seen & 1) === 0) continue;
      const at = FIELDS * entry;
      const offset = gpa - (this.#fields[at] ?? 0);
      const size = this.#fields[at + 1] ?? 0;
      const hva = this.#fields[at + 2] ?? 0;
      const inside = offset >= 0 && offset < size && length >= 0 && length <= size - offset;
      if (inside && Atomics.load(this.#occupancy, entry) === seen) return hva + offset;
    }
    return 0;
  }
}
