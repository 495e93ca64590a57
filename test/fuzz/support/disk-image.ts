import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, readSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OpenedImage } from "../../../src/block/disk-image.ts";
import { DiskImageError } from "../../../src/block/image-error.ts";
import type { ImageFormat } from "../../../src/block/image-format.ts";
import { Qcow2Shared, Word } from "../../../src/block/qcow2/shared.ts";
import { libc } from "../../../src/host/libc.ts";
import { DiskDriver } from "../../unit/block/disk-driver.ts";
import { qemu } from "../../unit/block/qemu.ts";
import type { Input } from "../engine/input.ts";

const SECTOR = 512;
const PIECE = 4096;
/** lseek(2). */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const MOST_PATCHES = 8;
const MOST_ACTS = 12;
const MOST_TRANSFER = 32 << 10;
/**
 * What a few small requests may add to what a small image takes of the disk, whatever is wrong with it. Its length may grow by more: new
 * clusters lie behind all that its refcounts say is used, and that may be a lie.
 */
const MOST_GROWTH = 64 << 20;

/** An image that is fine, to be changed and put right again. Most of it is zeroes, which cost nothing. */
export class Template {
  readonly #original: Buffer;
  readonly #image: Buffer;
  readonly #places: readonly [number, ...number[]];
  /** Pieces that are not zero. */
  readonly #filled: readonly number[];
  /** Pieces that differ from the original. */
  readonly #changed = new Set<number>();
  /** Bytes of the changed image. */
  #size: number;

  /** @param make makes it with QEMU's tools @param places where structures lie, of the file's bytes */
  constructor(make: (path: string) => void, places: (image: Buffer) => readonly [number, ...number[]]) {
    const path = join(tmpdir(), "template");
    make(path);
    this.#original = readFileSync(path);
    this.#image = Buffer.from(this.#original);
    this.#places = places(this.#original);
    this.#size = this.#image.length;
    const pieces = Array.from({ length: Math.ceil(this.#size / PIECE) }, (_, i) => i);
    this.#filled = pieces.filter((i) => this.#piece(i).some((byte) => byte !== 0));
  }

  /** Bytes of the image as it is now. */
  get size(): number {
    return this.#size;
  }

  /** Changes the image as the input says. @param mend makes checksums right again where the input wants that */
  change(input: Input, mend: (image: Buffer, wasChanged: (at: number, length: number) => boolean) => void): void {
    const image = this.#image;
    for (const i of this.#changed) this.#original.copy(image, i * PIECE, i * PIECE, (i + 1) * PIECE);
    this.#changed.clear();
    for (let patches = input.below(MOST_PATCHES); patches > 0; patches--) this.#patch(input);
    if (input.below(4) > 0) mend(image, (at, length) => this.#touch(at, length));
    this.#size = input.below(16) === 1 ? input.u32() % (image.length + 1) : image.length;
  }

  /** Writes the image into a file, with holes for zeroes. */
  write(path: string): void {
    const fd = openSync(path, "w");
    try {
      ftruncateSync(fd, this.#size);
      for (const i of new Set([...this.#filled, ...this.#changed])) {
        const length = Math.min(PIECE, this.#size - i * PIECE);
        if (length > 0) writeSync(fd, this.#image, i * PIECE, length, i * PIECE);
      }
    } finally {
      closeSync(fd);
    }
  }

  /** @throws Error when a file is not the image any more */
  checkUnchanged(path: string): void {
    const fd = openSync(path, "r");
    try {
      const isWhole = fstatSync(fd).size === this.#size;
      // What was written may have become a hole, and a hole something else.
      const isSame = [...this.#filled, ...this.#changed].every((i) => this.#isIn(fd, i * PIECE, PIECE));
      if (!isWhole || !isSame || !dataRanges(fd).every(([from, to]) => this.#isIn(fd, from, to - from)))
        throw new Error("a read-only image has changed");
    } finally {
      closeSync(fd);
    }
  }

  /** Whether a file has this part of the image, as far as both reach. */
  #isIn(fd: number, at: number, length: number): boolean {
    const expected = this.#image.subarray(at, Math.min(this.#size, at + length));
    const found = Buffer.alloc(expected.length);
    readSync(fd, found, 0, found.length, at);
    return found.equals(expected);
  }

  #patch(input: Input): void {
    const width = input.pick([1, 2, 4, 8]);
    const at =
      (input.below(8) > 0 ? input.pick(this.#places) : input.u32()) + (input.bool() ? 0 : width * input.below(64));
    if (at + width > this.#image.length) return;
    const value = BigInt(input.bool() ? input.pick(this.#places) : input.edge(8 * width));
    const flags = input.below(4) === 0 ? BigInt(input.u8()) << BigInt(8 * width - 8) : 0n;
    const bits = BigInt.asUintN(8 * width, value | flags);
    // In either order of bytes: formats differ.
    const bytes = Buffer.alloc(8);
    if (input.bool()) bytes.writeBigUInt64LE(bits);
    else bytes.writeBigUInt64BE(bits << BigInt(64 - 8 * width));
    this.#image.set(bytes.subarray(0, width), at);
    this.#changed.add(Math.floor(at / PIECE)).add(Math.floor((at + width - 1) / PIECE));
  }

  /** Whether a part was changed; if so its start, where checksums are, will be. */
  #touch(at: number, length: number): boolean {
    const first = Math.floor(at / PIECE);
    const end = Math.ceil((at + length) / PIECE);
    let was = false;
    for (let i = first; i < end; i++) was ||= this.#changed.has(i);
    if (was) this.#changed.add(first);
    return was;
  }

  #piece(i: number): Buffer {
    return this.#image.subarray(i * PIECE, (i + 1) * PIECE);
  }
}

/** The parts of a file that are no holes. */
function dataRanges(fd: number): [from: number, to: number][] {
  const ranges: [from: number, to: number][] = [];
  for (let end = 0; ; ) {
    const from = libc.lseek(fd, end, SEEK_DATA);
    if (from < 0) return ranges;
    end = libc.lseek(fd, from, SEEK_HOLE);
    ranges.push([from, end]);
  }
}

export const qemuImg = (...args: readonly string[]): string => qemu("qemu-img", ...args);

/** How an image was used. */
export interface Use {
  readonly readonly: boolean;
  /** Bytes of its disk. */
  readonly diskBytes: number;
}

/**
 * Opens an image and uses it as a guest might.
 * @returns undefined where it was refused
 * @throws Error when anything but a refusal or an error of a request comes of it, or a read-only image is changed
 */
export async function useImage(
  input: Input,
  path: string,
  format: ImageFormat,
  image: Template,
): Promise<Use | undefined> {
  const how = input.below(32);
  const readonly = how % 4 === 0;
  const options = { readonly, format, backingFiles: how >> 2 !== 1 };
  let driver: DiskDriver;
  try {
    driver = await DiskDriver.open(path, options, MOST_TRANSFER, "synchronous");
  } catch (error) {
    if (error instanceof DiskImageError) return undefined;
    throw error;
  }
  const diskBytes = driver.image.image.size;
  {
    using disk = driver;
    const sectors = Math.floor(diskBytes / SECTOR);
    for (let acts = 0; acts < MOST_ACTS && !input.isEmpty && sectors > 0; acts++) act(input, disk, sectors, readonly);
    checkLength(path, disk.image.image, image.size);
  }
  if (readonly) image.checkUnchanged(path);
  const taken = statSync(path).blocks * SECTOR;
  if (taken > image.size + MOST_GROWTH) throw new Error(`the image of ${image.size} bytes has come to take ${taken}`);
  return { readonly, diskBytes };
}

/** @throws Error when something was written to clusters that a qcow2 image does not have @param before bytes of the file at first */
function checkLength(path: string, image: OpenedImage, before: number): void {
  if (image.kind !== "qcow2") return;
  const clusters = new Qcow2Shared(image.shared, image.capacity).words[Word.FILE_CLUSTERS] ?? 0;
  const { size } = statSync(path);
  if (size > Math.max(before, clusters * 2 ** image.header.clusterBits))
    throw new Error(`the image of ${clusters} clusters has come to be ${size} bytes long`);
}

/** One request. */
function act(input: Input, disk: DiskDriver, sectors: number, readonly: boolean): void {
  const at = SECTOR * ((input.bool() ? input.u16() : input.edge(48)) % sectors);
  const left = SECTOR * sectors - at;
  const length = Math.min(left, SECTOR * (1 + input.below(MOST_TRANSFER / SECTOR)));
  try {
    switch (readonly ? 0 : input.below(6)) {
      case 1:
      case 2:
        disk.write(at, new Uint8Array(length).fill(9));
        break;
      case 3:
        disk.zero(at, Math.min(left, SECTOR * (1 + input.u16())), input.bool());
        break;
      case 4:
        disk.discard(at, Math.min(left, SECTOR * (1 + input.u16())));
        break;
      case 5:
        disk.flush();
        break;
      default:
        disk.read(at, length);
    }
  } catch (error) {
    if (!(error instanceof Error) || !/: errno \d+$/.test(error.message)) throw error;
  }
}
