import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DiskImageOptions } from "../../../../src/block/disk-image.ts";
import { ImageSizeError, resizeImage } from "../../../../src/block/resize-image.ts";
import type { Random } from "../../random.ts";
import { DiskDriver } from "../disk-driver.ts";
import { ModelDisk, SECTOR } from "../model-disk.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";

/** Disks grow to at most so many times the size that they start with. */
const GROWTH = 2;

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
  readonly extended: boolean;
  /** Whether the data is in another file, which may be a raw image by itself. */
  readonly dataFile: "none" | "plain" | "raw";
}

/** What few images have, to be had by all. */
export type Feature = "extended_l2" | "data_file" | "data_file_raw";

const BACKINGS = ["none", "none", "raw", "qcow2", "compressed"] as const;

function shapeOf(random: Random, features: readonly Feature[]): Shape {
  const extended = features.includes("extended_l2") || random.below(4) === 0;
  const dataFile = features.includes("data_file_raw")
    ? "raw"
    : features.includes("data_file")
      ? "plain"
      : random.pick(["none", "none", "none", "none", "plain", "raw"] as const);
  const version = !extended && dataFile === "none" && random.below(4) === 0 ? 2 : 3;
  const clusterBits = random.pick(extended ? [14, 14, 15, 16, 16, 18, 21] : [9, 9, 10, 12, 13, 16, 16, 18, 21]);
  const drawn = random.pick(BACKINGS);
  const backing = dataFile === "raw" ? "none" : dataFile === "plain" && drawn === "compressed" ? "raw" : drawn;
  const largest = clusterBits >= 18 ? 8 << 20 : clusterBits >= 16 ? 4 << 20 : 1 << 20;
  const refcountBits = version === 2 ? 16 : 2 ** random.below(7);
  // A snapshot shares every cluster once more, and compressed clusters share theirs already.
  const canSnapshot = backing === "compressed" ? refcountBits > 8 : refcountBits > 1;
  return {
    version,
    clusterBits,
    refcountBits,
    size: SECTOR * (1 + random.below(largest / SECTOR)),
    backing,
    compression: version === 3 && random.below(2) === 0 ? "zstd" : "zlib",
    snapshot: random.below(4) === 0 && canSnapshot && dataFile === "none",
    preallocated: backing === "none" && random.below(5) === 0,
    direct: random.below(4) === 0,
    extended,
    dataFile,
  };
}

const dataFileOptions = (dataFile: Shape["dataFile"], path: string): string[] =>
  dataFile === "none" ? [] : [`data_file=${path}.data`, `data_file_raw=${dataFile === "raw" ? "on" : "off"}`];

/** The image that is written to. */
interface Top {
  readonly path: string;
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly extended: boolean;
  readonly dataFile: Shape["dataFile"];
  readonly hasBacking: boolean;
  hasSnapshot: boolean;
}

/** A sequence of random operations on one image and on others that are laid over it: ours, QEMU's, and the same on a copy of the disk in memory. */
export class Sequence {
  readonly #random: Random;
  readonly #folder: string;
  readonly #features: readonly Feature[];
  readonly #shape: Shape;
  /** Images below the top that nothing may write to any more, with what they hold. */
  readonly #below = new Map<string, Uint8Array>();
  readonly #model: ModelDisk;
  #top: Top;

  constructor(random: Random, folder: string, features: readonly Feature[] = []) {
    this.#random = random;
    this.#folder = folder;
    this.#features = features;
    this.#shape = shapeOf(random, features);
    const { version, clusterBits, extended, dataFile, size } = this.#shape;
    this.#model = new ModelDisk(random, size);
    const path = join(folder, "image.qcow2");
    this.#top = { path, version, clusterBits, extended, dataFile, hasBacking: false, hasSnapshot: false };
  }

  get #path(): string {
    return this.#top.path;
  }

  get description(): string {
    return JSON.stringify(this.#shape);
  }

  /** @throws Error where ours, QEMU's and the model's differ, or QEMU finds fault with the image */
  async run(operations: number): Promise<void> {
    this.#create();
    const { direct, snapshot } = this.#shape;
    const rounds = 1 + this.#random.below(3);
    for (let round = 0; round < rounds; round++) {
      if (snapshot && round === this.#random.below(rounds) && this.#top.dataFile === "none") this.#snapshot();
      await this.#useOurs(
        {
          backingFiles: this.#top.hasBacking || this.#top.dataFile !== "none",
          direct,
          sparse: this.#random.below(4) !== 0,
        },
        operations,
      );
      checkImage(this.#path);
      if (this.#random.below(2) === 0) this.#operateQemu();
      if (round + 1 === rounds) break;
      if (this.#random.below(4) === 0) this.#resizeByQemu();
      if (this.#random.below(4) === 0) this.#overlay(round);
    }
    this.#model.compare("QEMU's", await contentsOf(this.#path, join(this.#folder, "contents.raw")));
    checkImage(this.#path);
    if (this.#top.dataFile === "raw")
      this.#model.compare("the data file's", readFileSync(`${this.#path}.data`).subarray(0, this.#model.size));
    for (const [path, bytes] of this.#below)
      if (Buffer.compare(bytes, readFileSync(path)) !== 0) throw new Error(`${path} was written to`);
  }

  async #useOurs(options: Partial<DiskImageOptions>, operations: number): Promise<void> {
    const engine = this.#random.pick(["io_uring", "io_uring", "aio", "synchronous"] as const);
    using driver = await DiskDriver.open(this.#path, options, this.#shape.size * GROWTH, engine);
    for (let i = 0; i < operations; i++) this.#operate(driver);
    this.#model.compare("ours", driver.read(0, this.#model.size));
    driver.flush();
  }

  #create(): void {
    const { version, clusterBits, refcountBits, size, backing, compression, preallocated, extended, dataFile } =
      this.#shape;
    const options = [`compat=${version === 2 ? "0.10" : "1.1"}`, `cluster_size=${2 ** clusterBits}`];
    if (version === 3) options.push(`refcount_bits=${refcountBits}`, `compression_type=${compression}`);
    if (extended) options.push("extended_l2=on");
    if (preallocated) options.push("preallocation=metadata");
    const ofTop = [...options, ...dataFileOptions(dataFile, this.#path)].join(",");
    if (backing === "none") {
      qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", ofTop, this.#path, String(size));
      return;
    }
    // An image of compressed clusters itself, every other time.
    const isAlone = backing === "compressed" && this.#random.below(2) === 0;
    const most = isAlone ? size : Math.ceil(size * 1.2);
    const raw = join(this.#folder, "base.raw");
    const below = this.#model.data(SECTOR * (1 + this.#random.below(Math.ceil(most / SECTOR))));
    for (let at = 0; at < below.length; at += 8192) if (this.#random.below(2) === 0) below.fill(0, at, at + 8192);
    writeFileSync(raw, below);
    this.#model.bytes.set(below.subarray(0, size));
    const base = isAlone ? this.#path : backing === "raw" ? raw : join(this.#folder, "base.qcow2");
    if (backing !== "raw") {
      const compress = backing === "compressed" ? ["-c"] : [];
      qemu("qemu-img", "convert", "-q", ...compress, "-f", "raw", "-O", "qcow2", "-o", options.join(","), raw, base);
    }
    if (isAlone) {
      qemu("qemu-img", "resize", "-q", "-f", "qcow2", this.#path, String(size));
      return;
    }
    const chain = ["-b", base, "-F", backing === "raw" ? "raw" : "qcow2"];
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", ofTop, ...chain, this.#path, String(size));
    this.#top = { ...this.#top, hasBacking: true };
  }

  /** An internal snapshot: from now on all clusters are shared. */
  #snapshot(): void {
    qemu("qemu-img", "snapshot", "-q", "-c", `s${this.#random.below(2 ** 30)}`, this.#path);
    this.#top.hasSnapshot = true;
  }

  /** Lays a new image, of another shape, over the top one. */
  #overlay(round: number): void {
    const below = this.#path;
    this.#below.set(below, readFileSync(below));
    if (this.#top.dataFile !== "none") this.#below.set(`${below}.data`, readFileSync(`${below}.data`));
    const { version, clusterBits, extended, dataFile: drawn } = shapeOf(this.#random, this.#features);
    const dataFile = drawn === "none" ? "none" : "plain";
    const path = join(this.#folder, `overlay${round}.qcow2`);
    const options = [
      `compat=${version === 2 ? "0.10" : "1.1"}`,
      `cluster_size=${2 ** clusterBits}`,
      ...(extended ? ["extended_l2=on"] : []),
      ...dataFileOptions(dataFile, path),
    ].join(",");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", below, "-F", "qcow2", path);
    this.#top = { path, version, clusterBits, extended, dataFile, hasBacking: true, hasSnapshot: false };
  }

  /** A size up to `GROWTH` times the first. */
  #largerSize(): number {
    const most = this.#shape.size * GROWTH - this.#model.size;
    return this.#model.size + SECTOR * this.#random.below(most / SECTOR + 1);
  }

  /** QEMU cuts off whole clusters: what is left in the last one shows again when the disk grows. */
  #resizeByQemu(): void {
    const { version, clusterBits, hasBacking, hasSnapshot } = this.#top;
    const clusters = Math.floor(this.#model.size / 2 ** clusterBits);
    const shrinks = this.#random.below(2) === 0 && !hasSnapshot && clusters > 0;
    if (!shrinks && version === 2 && (hasBacking || hasSnapshot)) return;
    const size = shrinks ? 2 ** clusterBits * (1 + this.#random.below(clusters)) : this.#largerSize();
    qemu("qemu-img", "resize", "-q", ...(shrinks ? ["--shrink"] : []), "-f", "qcow2", this.#path, String(size));
    this.#model.resize(size);
  }

  /** Ours grows where the image's tables have room, and no backing file would have to be hidden. */
  #grow(driver: DiskDriver): void {
    const size = this.#largerSize();
    try {
      resizeImage(driver.image.image, size, true);
    } catch (error) {
      if (error instanceof ImageSizeError) return;
      throw error;
    }
    this.#model.resize(size);
  }

  #operate(driver: DiskDriver): void {
    if (this.#random.below(64) === 0) this.#grow(driver);
    const [offset, length] = this.#range();
    this.#model.operate(driver, [offset, length], () => this.#discardModel(driver, offset, offset + length));
  }

  /**
   * Discarded are whole clusters, the disk's last included, unless the format cannot say what shows then. Of subclusters, those
   * of compressed clusters stay.
   */
  #discardModel(driver: DiskDriver, offset: number, end: number): void {
    const { clusterBits, version, hasBacking, extended } = this.#top;
    if (version === 2 && hasBacking) return;
    const cluster = 2 ** clusterBits;
    const unit = extended ? cluster / 32 : cluster;
    const from = Math.ceil(offset / unit) * unit;
    const to = end === this.#model.size ? end : Math.floor(end / unit) * unit;
    for (let at = from; at < to; ) {
      const next = Math.min(to, Math.floor(at / cluster + 1) * cluster);
      const isWhole = at % cluster === 0 && (next % cluster === 0 || next === this.#model.size);
      const isKept = !isWhole && this.#mayBeCompressed && driver.read(at, next - at).some((byte) => byte !== 0);
      if (!isKept) this.#model.bytes.fill(0, at, next);
      at = next;
    }
  }

  get #mayBeCompressed(): boolean {
    return this.#shape.backing === "compressed";
  }

  #operateQemu(): void {
    const commands: string[] = [];
    for (let i = 0; i < 4; i++) {
      const [offset, length] = this.#range();
      const value = this.#random.below(256);
      if (this.#random.below(3) === 0) {
        commands.push("-c", `write -q -z ${this.#random.below(2) === 0 ? "-u " : ""}${offset} ${length}`);
        this.#model.bytes.fill(0, offset, offset + length);
      } else {
        commands.push("-c", `write -q -P ${value} ${offset} ${length}`);
        this.#model.bytes.fill(value, offset, offset + length);
      }
    }
    qemu("qemu-io", "-f", "qcow2", ...commands, this.#path);
  }

  #range(): [number, number] {
    return this.#model.range(2 ** this.#top.clusterBits);
  }
}
