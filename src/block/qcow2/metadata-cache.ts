import type { ImageFile } from "../image-file.ts";
import { type Qcow2Shared, SlotState, WAYS, Word } from "./shared.ts";

/**
 * Slices of L2 tables and refcount blocks in shared memory, eight ways of a set each. Changes stay here until a write-back,
 * whose order is not this class's business. To be used under the image's lock.
 */
export class MetadataCache {
  /** The memory of all slices: `locate` says where in it. */
  readonly view: DataView;
  readonly #shared: Qcow2Shared;
  readonly #file: ImageFile;
  readonly #sliceBytes: number;
  readonly #sets: number;
  readonly #relieve: () => void;

  /** @param relieve writes back all changes: called when a set is full of them */
  constructor(shared: Qcow2Shared, file: ImageFile, relieve: () => void) {
    const { sliceBits, slots } = shared.capacity;
    this.#shared = shared;
    this.#file = file;
    this.#sliceBytes = 2 ** sliceBits;
    this.#sets = slots / WAYS;
    this.#relieve = relieve;
    this.view = shared.slices.view;
  }

  /**
   * Brings the slice that holds a byte of the file into memory.
   * @param offset in the file
   * @returns where in `view` that byte is, until the next call
   * @throws ImageIoError
   */
  locate(offset: number): number {
    const { keys, stamps, words } = this.#shared;
    const slice = Math.floor(offset / this.#sliceBytes);
    const within = offset - slice * this.#sliceBytes;
    const now = (words[Word.CLOCK] ?? 0) + 1;
    words[Word.CLOCK] = now;
    const found = this.#slotOf(slice);
    if (found >= 0) {
      stamps[found] = now;
      return found * this.#sliceBytes + within;
    }
    const slot = this.#vacate((slice % this.#sets) * WAYS);
    const at = slot * this.#sliceBytes;
    // Without a key while it is read: a failure leaves the slot empty.
    keys[slot] = 0;
    this.#file.read(slice * this.#sliceBytes, this.#shared.slices.address + at, this.#sliceBytes);
    keys[slot] = slice + 1;
    stamps[slot] = now;
    return at + within;
  }

  /** Marks what `locate` found as changed. @param state which kind of change, `SlotState` */
  touch(at: number, state: number): void {
    const { states, words } = this.#shared;
    const slot = Math.floor(at / this.#sliceBytes);
    if (states[slot] === SlotState.CLEAN) words[Word.DIRTY_SLOTS] = (words[Word.DIRTY_SLOTS] ?? 0) + 1;
    states[slot] = state;
  }

  /** Writes all changes of a kind to the file, in the order of their place there where they adjoin. @throws ImageIoError */
  write(state: number): void {
    const { keys, states, slices, words } = this.#shared;
    for (let slot = 0; slot < states.length; slot++) {
      if (states[slot] !== state) continue;
      const offset = ((keys[slot] ?? 0) - 1) * this.#sliceBytes;
      this.#file.write(offset, slices.address + slot * this.#sliceBytes, this.#sliceBytes);
      states[slot] = SlotState.CLEAN;
      words[Word.DIRTY_SLOTS] = (words[Word.DIRTY_SLOTS] ?? 0) - 1;
    }
  }

  /** Forgets slices of a range of the file, changes included: nothing refers to it any more. */
  forget(offset: number, length: number): void {
    const { keys, states, words } = this.#shared;
    const end = Math.ceil((offset + length) / this.#sliceBytes);
    for (let slice = Math.floor(offset / this.#sliceBytes); slice < end; slice++) {
      const slot = this.#slotOf(slice);
      if (slot < 0) continue;
      if (states[slot] !== SlotState.CLEAN) words[Word.DIRTY_SLOTS] = (words[Word.DIRTY_SLOTS] ?? 0) - 1;
      states[slot] = SlotState.CLEAN;
      keys[slot] = 0;
    }
  }

  /** Whether a slice of a range of the file is here. */
  holds(offset: number, length: number): boolean {
    const end = Math.ceil((offset + length) / this.#sliceBytes);
    for (let slice = Math.floor(offset / this.#sliceBytes); slice < end; slice++)
      if (this.#slotOf(slice) >= 0) return true;
    return false;
  }

  /** The slot that a slice of the file is in; negative if it is not here. */
  #slotOf(slice: number): number {
    const { keys } = this.#shared;
    const first = (slice % this.#sets) * WAYS;
    for (let slot = first; slot < first + WAYS; slot++) if (keys[slot] === slice + 1) return slot;
    return -1;
  }

  /** A slot of a set that can be filled: an empty one, or the unchanged one that was not used for longest. */
  #vacate(first: number): number {
    const oldest = this.#oldestClean(first);
    if (oldest !== undefined) return oldest;
    this.#relieve();
    return this.#oldestClean(first) ?? first;
  }

  #oldestClean(first: number): number | undefined {
    const { keys, stamps, states } = this.#shared;
    let found: number | undefined;
    let age = Number.POSITIVE_INFINITY;
    for (let slot = first; slot < first + WAYS; slot++) {
      if (keys[slot] === 0) return slot;
      const stamp = stamps[slot] ?? 0;
      if (states[slot] !== SlotState.CLEAN || stamp >= age) continue;
      found = slot;
      age = stamp;
    }
    return found;
  }
}
