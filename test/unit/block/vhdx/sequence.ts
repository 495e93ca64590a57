import { join } from "node:path";
import type { DiskImageOptions } from "../../../../src/block/disk-image.ts";
import type { Random } from "../../random.ts";
import { DiskDriver } from "../disk-driver.ts";
import { ModelDisk, SECTOR } from "../model-disk.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";

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

/** A sequence of random operations on one image: ours, QEMU's, and the same on a copy of the disk in memory. */
export class Sequence {
  readonly #random: Random;
  readonly #folder: string;
  readonly #shape: Shape;
  readonly #path: string;
  readonly #model: ModelDisk;

  constructor(random: Random, folder: string) {
    this.#random = random;
    this.#folder = folder;
    this.#shape = shapeOf(random);
    this.#path = join(folder, "image.vhdx");
    this.#model = new ModelDisk(random, this.#shape.size);
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
    this.#model.compare("QEMU's", await contentsOf(this.#path, join(this.#folder, "contents.raw"), "vhdx"));
    checkImage(this.#path, "vhdx");
  }

  async #useOurs(options: Partial<DiskImageOptions>, operations: number): Promise<void> {
    using driver = await DiskDriver.open(
      this.#path,
      { format: "vhdx", ...options },
      Math.max(SECTOR, this.#shape.size),
    );
    for (let i = 0; i < operations; i++) this.#operate(driver);
    this.#model.compare("ours", driver.read(0, this.#shape.size));
    if (this.#random.below(2) === 0) driver.flush();
  }

  #operate(driver: DiskDriver): void {
    const [offset, length] = this.#range();
    this.#model.operate(driver, [offset, length], () => {
      // An image that is to keep its space does not take hints.
      if (this.#shape.sparse && !this.#shape.isFixed) this.#model.bytes.fill(0, offset, offset + length);
    });
  }

  #operateQemu(): void {
    const commands: string[] = [];
    for (let i = 0; i < 4; i++) {
      const [offset, length] = this.#range();
      const value = this.#random.below(256);
      commands.push("-c", `write -q -P ${value} ${offset} ${length}`);
      this.#model.bytes.fill(value, offset, offset + length);
    }
    qemu("qemu-io", "-f", "vhdx", ...commands, this.#path);
  }

  #range(): [number, number] {
    return this.#model.range(this.#shape.blockBytes);
  }
}
