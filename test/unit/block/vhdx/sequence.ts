import { join } from "node:path";
import type { DiskImageOptions } from "../../../../src/block/disk-image.ts";
import type { Random } from "../../random.ts";
import { DiskDriver } from "../disk-driver.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";

const SECTOR = 512;
const MIB = 1 << 20;

/** What an image of a sequence is like. */
interface Shape {
  readonly blockBytes: number;
  readonly isFixed: boolean;
  readonly zeroState: boolean;
  readonly size: number;
  readonly direct: boolean;
  readonly sparse: boolean;
}

function shapeOf(random: Random): Shape {
  const blockBytes = MIB * random.pick([1, 1, 1, 2, 4, 16, 256]);
  const most = Math.min(6 * MIB, blockBytes * 6);
  return {
    blockBytes,
    isFixed: random.below(4) === 0,
    zeroState: random.below(2) === 0,
    size: SECTOR * (1 + random.below(most / SECTOR)),
    direct: random.below(4) === 0,
    sparse: random.below(4) !== 0,
  };
}

/** Data that differs from sector to sector. */
function data(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < length; at += SECTOR) {
    bytes.fill(1 + random.below(255), at, at + SECTOR);
    view.setUint32(at, random.below(2 ** 31));
  }
  return bytes;
}

/** A sequence of random operations on one image: ours, QEMU's, and the same on a copy of the disk in memory. */
export class Sequence {
  readonly #random: Random;
  readonly #folder: string;
  readonly #shape: Shape;
  readonly #path: string;
  readonly #model: Uint8Array;

  constructor(random: Random, folder: string) {
    this.#random = random;
    this.#folder = folder;
    this.#shape = shapeOf(random);
    this.#path = join(folder, "image.vhdx");
    this.#model = new Uint8Array(this.#shape.size);
  }

  get description(): string {
    return JSON.stringify(this.#shape);
  }

  /** @throws Error where ours, QEMU's and the model's differ, or QEMU finds fault with the image */
  async run(operations: number): Promise<void> {
    const { blockBytes, isFixed, zeroState, size, direct, sparse } = this.#shape;
    const options = [
      `subformat=${isFixed ? "fixed" : "dynamic"}`,
      `block_size=${blockBytes}`,
      `block_state_zero=${zeroState ? "on" : "off"}`,
    ];
    qemu("qemu-img", "create", "-q", "-f", "vhdx", "-o", options.join(","), this.#path, String(size));
    const rounds = 1 + this.#random.below(3);
    for (let round = 0; round < rounds; round++) {
      await this.#useOurs({ direct, sparse }, operations);
      checkImage(this.#path, "vhdx");
      if (this.#random.below(2) === 0) this.#operateQemu();
    }
    this.#compare("QEMU's", await contentsOf(this.#path, join(this.#folder, "contents.raw"), "vhdx"));
    checkImage(this.#path, "vhdx");
  }

  async #useOurs(options: Partial<DiskImageOptions>, operations: number): Promise<void> {
    using driver = await DiskDriver.open(
      this.#path,
      { format: "vhdx", ...options },
      Math.max(SECTOR, this.#shape.size),
    );
    for (let i = 0; i < operations; i++) this.#operate(driver);
    this.#compare("ours", driver.read(0, this.#shape.size));
    if (this.#random.below(2) === 0) driver.flush();
  }

  #operate(driver: DiskDriver): void {
    const [offset, length] = this.#range();
    const end = offset + length;
    const cut = Array.from({ length: this.#random.below(4) }, () => SECTOR * this.#random.below(length / SECTOR)).sort(
      (a, b) => a - b,
    );
    const cuts = cut.filter((at, i) => at !== cut[i - 1]);
    switch (this.#random.below(8)) {
      case 0:
      case 1:
      case 2: {
        const bytes = data(this.#random, length);
        driver.write(offset, bytes, cuts);
        this.#model.set(bytes, offset);
        return;
      }
      case 3:
        driver.zero(offset, length, this.#random.below(2) === 0);
        this.#model.fill(0, offset, end);
        return;
      case 4:
        driver.discard(offset, length);
        // An image that is to keep its space does not take hints.
        if (this.#shape.sparse && !this.#shape.isFixed) this.#model.fill(0, offset, end);
        return;
      case 5:
        driver.flush();
        return;
      default:
        this.#compare(`ours at ${offset}`, driver.read(offset, length, cuts), offset);
    }
  }

  #operateQemu(): void {
    const commands: string[] = [];
    for (let i = 0; i < 4; i++) {
      const [offset, length] = this.#range();
      const value = this.#random.below(256);
      commands.push("-c", `write -q -P ${value} ${offset} ${length}`);
      this.#model.fill(value, offset, offset + length);
    }
    qemu("qemu-io", "-f", "vhdx", ...commands, this.#path);
  }

  #range(): [number, number] {
    const { size, blockBytes } = this.#shape;
    const unit = this.#random.below(3) === 0 && size >= blockBytes ? blockBytes : SECTOR;
    const units = Math.floor(size / unit);
    const offset = this.#random.below(units);
    const most = Math.min(units - offset, Math.max(1, Math.ceil(units / (1 + this.#random.below(16)))));
    return [offset * unit, unit * (1 + this.#random.below(most))];
  }

  #compare(whose: string, actual: Uint8Array, offset = 0): void {
    const expected = this.#model.subarray(offset, offset + actual.length);
    if (actual.length === expected.length && Buffer.compare(actual, expected) === 0) return;
    const at = actual.findIndex((byte, i) => byte !== expected[i]);
    throw new Error(`${whose} contents differ at ${offset + at}: ${actual[at]} instead of ${expected[at]}`);
  }
}
