import { Errno } from "../../host/errno.ts";
import { type ImageFile, ImageIoError } from "../image-file.ts";
import {
  type BlockGeometry,
  BlockState,
  ENTRIES_OF_SECTOR,
  ENTRY_BYTES,
  entryOfBlock,
  entryOffset,
  entryState,
  HEADER_SECTION_BYTES,
  SECTOR,
} from "./layout.ts";
import { type VhdxShared, Word } from "./shared.ts";

const HIGH = 0x1_0000_0000;

/** The block allocation table of an open image ([MS-VHDX] 2.5), as far as it is in memory. To be used under the image's lock. */
export class BlockTable {
  /** What `lookup` has found: data, or else zeroes. */
  isData = false;
  /** Where the data is in the file. */
  host = 0;
  /** Bytes that are alike. */
  length = 0;

  readonly #shared: VhdxShared;
  readonly #file: ImageFile;
  readonly #geometry: BlockGeometry;
  readonly #offset: number;
  readonly #keepsPlaces: boolean;
  readonly #relieve: () => void;

  /**
   * @param offset of the table in the file
   * @param keepsPlaces whether blocks that hold no data keep the places that their entries name
   * @param relieve writes back all changes: called when the memory for the table is full
   */
  constructor(
    shared: VhdxShared,
    file: ImageFile,
    geometry: BlockGeometry,
    options: { readonly offset: number; readonly keepsPlaces: boolean; readonly relieve: () => void },
  ) {
    this.#shared = shared;
    this.#file = file;
    this.#geometry = geometry;
    this.#offset = options.offset;
    this.#keepsPlaces = options.keepsPlaces;
    this.#relieve = options.relieve;
  }

  /**
   * Finds what a range of the disk is made of, as far as it is alike from its start on: data in one piece of the file, or zeroes.
   * The result is in `isData`, `host` and `length`.
   * @throws ImageIoError
   */
  lookup(offset: number, length: number): void {
    const { blockBytes } = this.#geometry;
    let block = Math.floor(offset / blockBytes);
    const within = offset - block * blockBytes;
    this.isData = this.state(block) === BlockState.FULLY_PRESENT;
    this.host = this.isData ? this.#place(block) + within : 0;
    let found = blockBytes - within;
    while (found < length) {
      block++;
      if ((this.state(block) === BlockState.FULLY_PRESENT) !== this.isData) break;
      if (this.isData && this.#place(block) !== this.host + found) break;
      found += blockBytes;
    }
    this.length = Math.min(found, length);
  }

  /** `BlockState` of a block. @throws ImageIoError */
  state(block: number): number {
    return entryState(this.#shared.table.view.getUint32(this.#locate(block), true));
  }

  /** The place in the file that a block without data has; undefined where it has none. @throws ImageIoError */
  keptPlace(block: number): number | undefined {
    const state = this.state(block);
    if (!this.#keepsPlaces || (state !== BlockState.UNMAPPED && state !== BlockState.UNDEFINED)) return undefined;
    return this.#entryPlace(block) === 0 ? undefined : this.#place(block);
  }

  /** Has a block hold the data at `host`. @throws ImageIoError */
  map(block: number, host: number): void {
    this.#set(block, Math.floor(host / HIGH), (host % HIGH) + BlockState.FULLY_PRESENT);
  }

  /** Has a block read as zeroes, and keep its place, which holds zeroes. @throws ImageIoError */
  unmap(block: number): void {
    const host = this.#place(block);
    this.#set(block, Math.floor(host / HIGH), (host % HIGH) + BlockState.UNMAPPED);
  }

  /** Has a block that has no place read as zeroes. @throws ImageIoError */
  zero(block: number): void {
    this.#set(block, 0, BlockState.ZERO);
  }

  /** Keeps a sector of the table in memory, though the file has another one. For an image that is only read. */
  pin(sector: number, contents: Uint8Array): void {
    const { words, table } = this.#shared;
    const slot = this.#take(sector);
    table.u8.set(contents, slot * SECTOR);
    words[Word.PINNED_SLOTS] = (words[Word.PINNED_SLOTS] ?? 0) + 1;
  }

  /**
   * Goes through changed sectors in slots [from, to).
   * @param each takes one, with its place in the file and in memory, and tells whether to go on
   * @returns the next slot
   */
  forDirty(from: number, to: number, each: (offset: number, bytes: Uint8Array, address: number) => boolean): number {
    const { dirty, sectorOf, table } = this.#shared;
    for (let slot = from; slot < to; slot++) {
      if (dirty[slot] === 0) continue;
      const at = slot * SECTOR;
      const bytes = table.u8.subarray(at, at + SECTOR);
      if (!each(this.#offset + (sectorOf[slot] ?? 0) * SECTOR, bytes, table.address + at)) return slot + 1;
    }
    return to;
  }

  /** What was changed in slots [from, to) is in the file now. */
  clean(from: number, to: number): void {
    const { words, dirty } = this.#shared;
    for (let slot = from; slot < to; slot++) {
      if (dirty[slot] === 0) continue;
      dirty[slot] = 0;
      words[Word.DIRTY_SLOTS] = (words[Word.DIRTY_SLOTS] ?? 0) - 1;
    }
  }

  #set(block: number, high: number, low: number): void {
    const { words, dirty, table } = this.#shared;
    const at = this.#locate(block);
    table.view.setUint32(at, low, true);
    table.view.setUint32(at + 4, high, true);
    const slot = Math.floor(at / SECTOR);
    if (dirty[slot] === 0) words[Word.DIRTY_SLOTS] = (words[Word.DIRTY_SLOTS] ?? 0) + 1;
    dirty[slot] = 1;
  }

  /** Where a block is in the file, as its entry says. The file may have changed since it was checked. */
  #place(block: number): number {
    const host = this.#entryPlace(block);
    const { blockBytes } = this.#geometry;
    if (host < HEADER_SECTION_BYTES || host + blockBytes > (this.#shared.words[Word.FILE_END] ?? 0))
      throw new ImageIoError(`the image has changed: block ${block} is at offset ${host}`, Errno.EIO);
    return host;
  }

  #entryPlace(block: number): number {
    const at = this.#locate(block);
    const { view } = this.#shared.table;
    return entryOffset(view.getUint32(at + 4, true), view.getUint32(at, true));
  }

  /** Where in memory the entry of a block is, until the next call. */
  #locate(block: number): number {
    const { slotOf, words, table } = this.#shared;
    const entry = entryOfBlock(block, this.#geometry.chunkRatio);
    const sector = Math.floor(entry / ENTRIES_OF_SECTOR);
    const within = (entry % ENTRIES_OF_SECTOR) * ENTRY_BYTES;
    const known = slotOf[sector] ?? 0;
    if (known !== 0) return (known - 1) * SECTOR + within;
    if (words[Word.USED_SLOTS] === this.#shared.capacity.slots) this.#empty();
    const slot = words[Word.USED_SLOTS] ?? 0;
    this.#file.read(this.#offset + sector * SECTOR, table.address + slot * SECTOR, SECTOR);
    return this.#take(sector) * SECTOR + within;
  }

  /** Gives a sector the next slot. */
  #take(sector: number): number {
    const { words, slotOf, sectorOf } = this.#shared;
    const slot = words[Word.USED_SLOTS] ?? 0;
    slotOf[sector] = slot + 1;
    sectorOf[slot] = sector;
    words[Word.USED_SLOTS] = slot + 1;
    return slot;
  }

  /** Makes room for other sectors of the table. */
  #empty(): void {
    const { words, slotOf, sectorOf } = this.#shared;
    this.#relieve();
    const pinned = words[Word.PINNED_SLOTS] ?? 0;
    for (let slot = pinned; slot < (words[Word.USED_SLOTS] ?? 0); slot++) slotOf[sectorOf[slot] ?? 0] = 0;
    words[Word.USED_SLOTS] = pinned;
  }
}
