import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DiskImageOptions } from "../../../../src/block/disk-image.ts";
import type { Random } from "../../random.ts";
import { DiskDriver } from "../disk-driver.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";

const SECTOR = 512;

/** What an image of a sequence is like. */
interface Shape {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly refcountBits: number;
  readonly size: number;
  readonly backing: "none" | "raw" | "qcow2" | "compressed";
  readonly compression: "zlib" | "zstd";
  readonly snapshot: boolean;
  readonly preallocated: boolean;
  readonly direct: boolean;
}

const BACKINGS = ["none", "none", "raw", "qcow2", "compressed"] as const;

function shapeOf(random: Random): Shape {
  const version = random.below(4) === 0 ? 2 : 3;
  const clusterBits = [9, 9, 10, 12, 13, 16, 16, 18, 21][random.below(9)] ?? 16;
  const backing = BACKINGS[random.below(BACKINGS.length)] ?? "none";
  const largest = clusterBits >= 18 ? 8 << 20 : clusterBits >= 16 ? 4 << 20 : 1 << 20;
  return {
    version,
    clusterBits,
    refcountBits: version === 2 ? 16 : 2 ** random.below(7),
    size: SECTOR * (1 + random.below(largest / SECTOR)),
    backing,
    compression: version === 3 && random.below(2) === 0 ? "zstd" : "zlib",
    snapshot: random.below(4) === 0,
    preallocated: backing === "none" && random.below(5) === 0,
    direct: random.below(4) === 0,
  };
}

/** Compressible data that differs from sector to sector. */
function data(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += SECTOR) bytes.fill(1 + random.below(255), at, at + SECTOR);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + 4 <= length; at += SECTOR) view.setUint32(at, random.below(2 ** 31));
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
    this.#path = join(folder, "image.qcow2");
    this.#model = new Uint8Array(this.#shape.size);
  }

  get description(): string {
    return JSON.stringify(this.#shape);
  }

  /** @throws Error where ours, QEMU's and the model's differ, or QEMU finds fault with the image */
  async run(operations: number): Promise<void> {
    this.#create();
    const { backing, direct, snapshot } = this.#shape;
    const rounds = 1 + this.#random.below(3);
    for (let round = 0; round < rounds; round++) {
      if (snapshot && round === this.#random.below(rounds)) this.#snapshot();
      await this.#useOurs(
        { backingFiles: backing !== "none", direct, sparse: this.#random.below(4) !== 0 },
        operations,
      );
      checkImage(this.#path);
      if (this.#random.below(2) === 0) this.#operateQemu();
    }
    this.#compare("QEMU's", await contentsOf(this.#path, join(this.#folder, "contents.raw")));
    checkImage(this.#path);
  }

  async #useOurs(options: Partial<DiskImageOptions>, operations: number): Promise<void> {
    using driver = await DiskDriver.open(this.#path, options, Math.max(SECTOR, this.#shape.size));
    for (let i = 0; i < operations; i++) this.#operate(driver);
    this.#compare("ours", driver.read(0, this.#shape.size));
    driver.flush();
  }

  #create(): void {
    const { version, clusterBits, refcountBits, size, backing, compression, preallocated } = this.#shape;
    const options = [`compat=${version === 2 ? "0.10" : "1.1"}`, `cluster_size=${2 ** clusterBits}`];
    if (version === 3) options.push(`refcount_bits=${refcountBits}`, `compression_type=${compression}`);
    if (preallocated) options.push("preallocation=metadata");
    if (backing === "none") {
      qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options.join(","), this.#path, String(size));
      return;
    }
    const raw = join(this.#folder, "base.raw");
    const below = data(this.#random, SECTOR * (1 + this.#random.below(Math.ceil((size * 1.2) / SECTOR))));
    for (let at = 0; at < below.length; at += 8192) if (this.#random.below(2) === 0) below.fill(0, at, at + 8192);
    writeFileSync(raw, below);
    this.#model.set(below.subarray(0, size));
    const base = backing === "raw" ? raw : join(this.#folder, "base.qcow2");
    if (backing !== "raw") {
      const compress = backing === "compressed" ? ["-c"] : [];
      qemu("qemu-img", "convert", "-q", ...compress, "-f", "raw", "-O", "qcow2", "-o", options.join(","), raw, base);
    }
    const format = backing === "raw" ? "raw" : "qcow2";
    const chain = ["-b", base, "-F", format];
    // An image of compressed clusters itself, every other time.
    if (backing === "compressed" && this.#random.below(2) === 0) {
      qemu("qemu-img", "convert", "-q", "-c", "-f", "qcow2", "-O", "qcow2", "-o", options.join(","), base, this.#path);
      qemu("qemu-img", "resize", "-q", "--shrink", "-f", "qcow2", this.#path, String(size));
      this.#model.fill(0, Math.min(below.length, size));
    } else qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options.join(","), ...chain, this.#path, String(size));
  }

  /** An internal snapshot: from now on all clusters are shared. Narrow refcounts cannot say so. */
  #snapshot(): void {
    if (this.#shape.refcountBits > 1)
      qemu("qemu-img", "snapshot", "-q", "-c", `s${this.#random.below(2 ** 30)}`, this.#path);
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
        this.#discardModel(offset, end);
        return;
      case 5:
        driver.flush();
        return;
      default:
        this.#compare(`ours at ${offset}`, driver.read(offset, length, cuts), offset);
    }
  }

  /** Discarded are whole clusters, the disk's last included, unless the format cannot say what shows then. */
  #discardModel(offset: number, end: number): void {
    const { clusterBits, size, version, backing } = this.#shape;
    if (version === 2 && this.#hasBacking(backing)) return;
    const cluster = 2 ** clusterBits;
    const from = Math.ceil(offset / cluster) * cluster;
    const to = end === size ? size : Math.floor(end / cluster) * cluster;
    if (from < to) this.#model.fill(0, from, to);
  }

  #hasBacking(backing: Shape["backing"]): boolean {
    return backing !== "none" && /^backing file:/m.test(qemu("qemu-img", "info", "-f", "qcow2", this.#path, "-U"));
  }

  #operateQemu(): void {
    const commands: string[] = [];
    for (let i = 0; i < 4; i++) {
      const [offset, length] = this.#range();
      const value = this.#random.below(256);
      if (this.#random.below(3) === 0) {
        commands.push("-c", `write -q -z ${this.#random.below(2) === 0 ? "-u " : ""}${offset} ${length}`);
        this.#model.fill(0, offset, offset + length);
      } else {
        commands.push("-c", `write -q -P ${value} ${offset} ${length}`);
        this.#model.fill(value, offset, offset + length);
      }
    }
    qemu("qemu-io", "-f", "qcow2", ...commands, this.#path);
  }

  #range(): [number, number] {
    const { size, clusterBits } = this.#shape;
    const unit = this.#random.below(3) === 0 && size >= 2 ** clusterBits ? 2 ** clusterBits : SECTOR;
    const units = Math.floor(size / unit);
    const offset = this.#random.below(units);
    const most = Math.min(units - offset, Math.max(1, Math.ceil(units / (1 + this.#random.below(16)))));
    return [offset * unit, unit * (1 + this.#random.below(most))];
  }

  #compare(whose: string, actual: Uint8Array, offset = 0): void {
    const expected = this.#model.subarray(offset, offset + actual.length);
    if (Buffer.compare(actual, expected) === 0) return;
    const at = actual.findIndex((byte, i) => byte !== expected[i]);
    throw new Error(`${whose} contents differ at ${offset + at}: ${actual[at]} instead of ${expected[at]}`);
  }
}
