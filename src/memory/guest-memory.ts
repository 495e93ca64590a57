import { ptr } from "bun:ffi";
import { libc } from "../host/libc.ts";
import { MemoryBlock } from "../host/memory-block.ts";
import type { Gpa, Hva } from "./address.ts";
import type { DeviceMemory } from "./device-memory.ts";

/** A run of guest RAM: `size` bytes at guest physical `gpa`, mapped in this process at `hva`. */
export interface RamRegion {
  readonly gpa: Gpa;
  readonly size: number;
  readonly hva: Hva;
}

/** The largest ArrayBuffer Bun makes; RAM is seen through windows of at most this size. */
const WINDOW_BYTES = 0x1_0000_0000;

/** An access outside guest RAM. */
export class GuestMemoryError extends Error {
  override readonly name = "GuestMemoryError";
  constructor(gpa: number, length: number) {
    super(`guest address 0x${gpa.toString(16)} (+${length} bytes) is outside guest RAM`);
  }
}

/** A part of guest RAM as bytes: guest physical address `start` is byte 0 of `view`. */
export interface MemoryWindow {
  readonly start: number;
  readonly view: DataView;
}

interface Window extends MemoryWindow {
  readonly end: number;
  readonly hva: number;
  readonly u8: Uint8Array;
}

/**
 * Guest physical memory as one thread sees it. Every access checks its whole range, and numbers from the guest may be
 * passed in as they are: negative and overflowing ranges are outside RAM.
 *
 * Bulk data does not pass through JavaScript: `hva` gives the address to hand to preadv, io_uring and the like.
 */
export class GuestMemory {
  readonly regions: readonly RamRegion[];
  readonly #devices: DeviceMemory | undefined;
  #windows: readonly Window[] | undefined;

  /**
   * @param regions of RAM
   * @param devices memory of devices, where that counts as well; it has no windows of its own
   */
  constructor(regions: readonly RamRegion[], devices?: DeviceMemory) {
    this.regions = regions;
    this.#devices = devices;
  }

  /**
   * The host address of guest range [gpa, gpa + length), or 0 where it is not wholly inside one region. A zero-length
   * range needs its address in RAM.
   */
  hva(gpa: number, length: number): number {
    for (const region of this.regions) {
      const offset = gpa - region.gpa;
      if (offset >= 0 && offset < region.size && length >= 0 && length <= region.size - offset)
        return region.hva + offset;
    }
    return this.#devices?.hva(gpa, length) ?? 0;
  }

  /** Whether [gpa, gpa + length) is wholly inside one region of RAM. */
  contains(gpa: number, length: number): boolean {
    return this.hva(gpa, length) !== 0;
  }

  /**
   * The guest range as a block of its own, for structures that are accessed over and over, as rings.
   * @throws GuestMemoryError where it is not in RAM; RangeError where `gpa` is not 8-byte aligned
   */
  block(gpa: number, length: number): MemoryBlock {
    const hva = this.hva(gpa, length);
    if (hva === 0) throw new GuestMemoryError(gpa, length);
    return new MemoryBlock(hva, length);
  }

  /**
   * A window that holds the whole range, for several reads in a row. Accesses through it are bounded by RAM, not by the
   * range.
   * @throws GuestMemoryError
   */
  window(gpa: number, length: number): MemoryWindow {
    return this.#window(gpa, length);
  }

  /** @throws GuestMemoryError */
  readU8(gpa: number): number {
    const window = this.#window(gpa, 1);
    return window.view.getUint8(gpa - window.start);
  }

  /** @throws GuestMemoryError */
  readU16(gpa: number): number {
    const window = this.#window(gpa, 2);
    return window.view.getUint16(gpa - window.start, true);
  }

  /** @throws GuestMemoryError */
  readU32(gpa: number): number {
    const window = this.#window(gpa, 4);
    return window.view.getUint32(gpa - window.start, true);
  }

  /** A 64-bit value as a number: exact to 2^53, larger for what no address or size can be. @throws GuestMemoryError */
  readU64(gpa: number): number {
    const window = this.#window(gpa, 8);
    const offset = gpa - window.start;
    return window.view.getUint32(offset, true) + window.view.getUint32(offset + 4, true) * 0x1_0000_0000;
  }

  /** @throws GuestMemoryError */
  writeU8(gpa: number, value: number): void {
    const window = this.#window(gpa, 1);
    window.view.setUint8(gpa - window.start, value);
  }

  /** @throws GuestMemoryError */
  writeU32(gpa: number, value: number): void {
    const window = this.#window(gpa, 4);
    window.view.setUint32(gpa - window.start, value, true);
  }

  /** Copies out of the guest. @throws GuestMemoryError */
  read(gpa: number, into: Uint8Array): void {
    const window = this.#window(gpa, into.length);
    into.set(window.u8.subarray(gpa - window.start, gpa - window.start + into.length));
  }

  /** Copies into the guest. @throws GuestMemoryError */
  write(gpa: number, bytes: Uint8Array): void {
    const hva = this.hva(gpa, bytes.length);
    if (hva === 0) throw new GuestMemoryError(gpa, bytes.length);
    if (bytes.length > 0) libc.memmove(hva, ptr(bytes), bytes.length);
  }

  #window(gpa: number, length: number): Window {
    // Made at the first access: the garbage collector takes windows for memory of its own, runs at once, and lets so much
    // garbage pass before the next time. The main thread, which only fills RAM, is spared that.
    this.#windows ??= this.regions.flatMap(windowsOf);
    for (const window of this.#windows) if (gpa >= window.start && gpa + length <= window.end) return window;
    return this.#acrossWindows(gpa, length);
  }

  /** A range over the seam of two windows of one region gets a window of its own. */
  #acrossWindows(gpa: number, length: number): Window {
    const hva = length > 0 ? this.hva(gpa, length) : 0;
    if (hva === 0) throw new GuestMemoryError(gpa, length);
    const lead = hva % 8;
    return windowAt(gpa - lead, hva - lead, length + lead);
  }
}

function windowAt(start: number, hva: number, size: number): Window {
  const { view, u8 } = new MemoryBlock(hva, size);
  return { start, end: start + size, hva, view, u8 };
}

function windowsOf({ gpa, size, hva }: RamRegion): Window[] {
  const windows: Window[] = [];
  for (let offset = 0; offset < size; offset += WINDOW_BYTES)
    windows.push(windowAt(gpa + offset, hva + offset, Math.min(WINDOW_BYTES, size - offset)));
  return windows;
}
