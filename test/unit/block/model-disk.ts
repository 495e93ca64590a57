import type { Random } from "../random.ts";
import type { DiskDriver } from "./disk-driver.ts";

export const SECTOR = 512;

/** What a disk has to show, beside the disk: a copy in memory to which all is done that is done to the disk. */
export class ModelDisk {
  bytes: Uint8Array;
  readonly #random: Random;

  constructor(random: Random, size: number) {
    this.#random = random;
    this.bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  /** What the disk gets beyond its old end reads as zeroes. */
  resize(size: number): void {
    const before = this.bytes;
    this.bytes = new Uint8Array(size);
    this.bytes.set(before.subarray(0, size));
  }

  /** A random part of the disk, of sectors or of an image's larger units. @returns offset and length in bytes */
  range(unitBytes: number): [number, number] {
    const unit = this.#random.below(3) === 0 && this.size >= unitBytes ? unitBytes : SECTOR;
    const units = Math.floor(this.size / unit);
    const offset = this.#random.below(units);
    const most = Math.min(units - offset, Math.max(1, Math.ceil(units / (1 + this.#random.below(16)))));
    return [offset * unit, unit * (1 + this.#random.below(most))];
  }

  /** Data that can be compressed and differs from sector to sector. */
  data(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < length; at += SECTOR) {
      bytes.fill(1 + this.#random.below(255), at, at + SECTOR);
      view.setUint32(at, this.#random.below(2 ** 31));
    }
    return bytes;
  }

  /**
   * Does something random to a part of the disk, and the same here.
   * @param discarded does here what a discard of that part does to the disk
   * @throws Error where the disk shows something else
   */
  operate(driver: DiskDriver, [offset, length]: readonly [number, number], discarded: () => void): void {
    const cut = Array.from({ length: this.#random.below(4) }, () => SECTOR * this.#random.below(length / SECTOR)).sort(
      (a, b) => a - b,
    );
    const cuts = cut.filter((at, i) => at !== cut[i - 1]);
    switch (this.#random.below(8)) {
      case 0:
      case 1:
      case 2: {
        const bytes = this.data(length);
        driver.write(offset, bytes, cuts);
        this.bytes.set(bytes, offset);
        return;
      }
      case 3:
        driver.zero(offset, length, this.#random.below(2) === 0);
        this.bytes.fill(0, offset, offset + length);
        return;
      case 4:
        driver.discard(offset, length);
        discarded();
        return;
      case 5:
        driver.flush();
        return;
      default:
        this.compare(`ours at ${offset}`, driver.read(offset, length, cuts), offset);
    }
  }

  /** @param offset where in the disk `actual` is @throws Error where that is something else than here */
  compare(whose: string, actual: Uint8Array, offset = 0): void {
    const expected = this.bytes.subarray(offset, offset + actual.length);
    if (Buffer.compare(actual, expected) === 0) return;
    const at = actual.findIndex((byte, i) => byte !== expected[i]);
    if (at < 0) throw new Error(`${whose} contents have ${actual.length} bytes instead of ${expected.length}`);
    throw new Error(`${whose} contents differ at ${offset + at}: ${actual[at]} instead of ${expected[at]}`);
  }
}
