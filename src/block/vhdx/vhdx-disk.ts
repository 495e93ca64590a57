import { libc } from "../../host/libc.ts";
import { logger } from "../../threads/log.ts";
import { imageFileOf } from "../direct-image-file.ts";
import type { Disk } from "../disk.ts";
import { type ImageFile, ImageIoError, PosixImageFile } from "../image-file.ts";
import type { RawDisk } from "../raw-disk.ts";
import { type DataSource, SegmentCursor, SegmentSource } from "../segments.ts";
import { type VhdxImage, type VhdxView, viewOf } from "./image.ts";
import { BlockState } from "./layout.ts";
import { Word } from "./shared.ts";

const log = logger("vhdx");

/** One thread's access to a VHDX image. @param raw its file */
export function openVhdxDisk(image: VhdxImage, raw: RawDisk): Disk {
  const file = imageFileOf(image);
  return new VhdxDisk(image, viewOf(image, file), file, raw);
}

/**
 * A VHDX image for one thread. What is in one piece of the file goes there as a raw disk's requests do, at its place; all else -
 * new blocks, zeroes - is done on the spot. A block that once has a place keeps it, so that a request under way reaches only
 * the block that it is for, whatever others do meanwhile.
 */
export class VhdxDisk implements Disk {
  readonly #image: VhdxImage;
  readonly #raw: RawDisk;
  readonly #file: ImageFile;
  /** The same through the host's page cache. */
  readonly #cached: ImageFile;
  /** By tag: whether the request is a flush. */
  readonly #isFlush: Uint8Array;
  readonly #view: VhdxView;
  readonly #blockBytes: number;

  /** @param raw the image's file */
  constructor(image: VhdxImage, view: VhdxView, file: ImageFile, raw: RawDisk) {
    this.#image = image;
    this.#view = view;
    this.#file = file;
    this.#cached = new PosixImageFile(image.cachedFd);
    this.#isFlush = new Uint8Array(raw.tags);
    this.#raw = raw;
    this.#blockBytes = image.layout.geometry.blockBytes;
  }

  get tags(): number {
    return this.#raw.tags;
  }

  get underWay(): number {
    return this.#raw.underWay;
  }

  get tag(): number {
    return this.#raw.tag;
  }

  get error(): number {
    return this.#raw.error;
  }

  segments(tag: number): Uint32Array {
    return this.#raw.segments(tag);
  }

  read(tag: number, offset: number, length: number, count: number): void {
    const { table } = this.#view.metadata;
    try {
      this.#lookup(offset, length);
      if (table.isData && table.length === length) {
        this.#raw.read(tag, table.host, length, count);
        return;
      }
      this.#readPieces(tag, offset, length);
      this.#raw.finish(tag, 0);
    } catch (error) {
      this.#fail(tag, error);
    }
  }

  write(tag: number, offset: number, length: number, count: number): void {
    const { shared, metadata } = this.#view;
    const { table } = metadata;
    let isInPlace = false;
    try {
      shared.lock.acquire();
      try {
        metadata.refuseIfBroken();
        metadata.begin();
        table.lookup(offset, length);
        isInPlace = table.isData && table.length === length;
        if (!isInPlace) {
          const segments = this.segments(tag);
          const cached = this.#cached;
          this.#writePieces(
            offset,
            length,
            new SegmentSource(this.#file, segments),
            new SegmentSource(cached, segments),
          );
        }
      } finally {
        shared.lock.release();
      }
    } catch (error) {
      this.#fail(tag, error);
      return;
    }
    if (isInPlace) this.#raw.write(tag, table.host, length, count);
    else this.#raw.finish(tag, 0);
  }

  flush(tag: number): void {
    const { shared, metadata } = this.#view;
    let isClean = false;
    try {
      shared.lock.acquire();
      try {
        metadata.refuseIfBroken();
        isClean = !metadata.isDirty;
        if (!isClean) metadata.writeBack();
      } finally {
        shared.lock.release();
      }
    } catch (error) {
      this.#fail(tag, error);
      return;
    }
    if (isClean) {
      this.#isFlush[tag] = 1;
      this.#raw.flush(tag);
    } else this.#raw.finish(tag, 0);
  }

  discard(tag: number, offset: number, length: number): void {
    // A hint, which an image that is to keep its space does not take.
    if (!this.#image.punch) this.#raw.finish(tag, 0);
    else if (this.#change(tag, () => this.#forBlocks(offset, length, (...part) => this.#discard(...part))))
      this.#raw.finish(tag, 0);
  }

  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void {
    const unmap = mayUnmap && this.#image.punch;
    if (this.#change(tag, () => this.#forBlocks(offset, length, (...part) => this.#zero(...part, unmap))))
      this.#raw.finish(tag, 0);
  }

  watch(eventFd: number): void {
    this.#raw.watch(eventFd);
  }

  wait(block: boolean): void {
    this.#raw.wait(block);
  }

  next(): boolean {
    const raw = this.#raw;
    if (!raw.next()) return false;
    // The kernel tells of writes that it lost only once, and they may have been of metadata that another queue counts on.
    if (this.#isFlush[raw.tag] === 1 && raw.error !== 0) this.#view.shared.words[Word.BROKEN] = 1;
    this.#isFlush[raw.tag] = 0;
    return true;
  }

  close(): void {
    this.#raw.close();
  }

  #lookup(offset: number, length: number): void {
    const { shared, metadata } = this.#view;
    shared.lock.acquire();
    try {
      metadata.table.lookup(offset, length);
    } finally {
      shared.lock.release();
    }
  }

  /** Makes a change under the lock. A failure ends the request. @returns whether there was none */
  #change(tag: number, change: () => void): boolean {
    const { shared, metadata } = this.#view;
    try {
      shared.lock.acquire();
      try {
        metadata.refuseIfBroken();
        metadata.begin();
        change();
      } finally {
        shared.lock.release();
      }
      return true;
    } catch (error) {
      this.#fail(tag, error);
      return false;
    }
  }

  #readPieces(tag: number, offset: number, length: number): void {
    const { table } = this.#view.metadata;
    const segments = new SegmentCursor(this.segments(tag));
    for (let done = 0; done < length; ) {
      this.#lookup(offset + done, length - done);
      const { isData, host, length: found } = table;
      segments.take(found, (address, part, within) => {
        if (isData) this.#file.read(host + within, address, part);
        else libc.memset(address, 0, part);
      });
      done += found;
    }
  }

  /** Writes part of the disk on the spot, giving places to blocks that have none. Under the lock. */
  #writePieces(offset: number, length: number, source: DataSource, beside: DataSource): void {
    const { table } = this.#view.metadata;
    const { alignment } = this.#image;
    for (let done = 0; done < length; ) {
      const at = offset + done;
      table.lookup(at, length - done);
      if (table.isData) {
        const { host, length: found } = table;
        // Beside it others may write through the page cache, which a read, change and write would undo.
        if (host % alignment === 0 && found % alignment === 0) source.write(done, host, found);
        else beside.write(done, host, found);
        done += found;
        continue;
      }
      const block = Math.floor(at / this.#blockBytes);
      const within = at - block * this.#blockBytes;
      const part = Math.min(this.#blockBytes - within, length - done);
      this.#writeNew(block, within, part, done, source);
      done += part;
    }
  }

  /** Writes to a block that reads as zeroes. @param skip bytes of the request before */
  #writeNew(block: number, within: number, length: number, skip: number, source: DataSource): void {
    const { metadata } = this.#view;
    const { table } = metadata;
    const kept = table.keptPlace(block);
    // What other programs leave there need not be zeroes.
    if (kept !== undefined) this.#file.zero(kept, this.#blockBytes, this.#image.punch);
    const host = kept ?? metadata.place();
    source.write(skip, host + within, length);
    if (kept === undefined) metadata.keep(host);
    table.map(block, host);
  }

  /** Takes a range apart. @param each gets a block, where in it the part starts, and its length */
  #forBlocks(offset: number, length: number, each: (block: number, within: number, length: number) => void): void {
    for (let done = 0; done < length; ) {
      const block = Math.floor((offset + done) / this.#blockBytes);
      const within = offset + done - block * this.#blockBytes;
      const part = Math.min(this.#blockBytes - within, length - done);
      each(block, within, part);
      done += part;
    }
  }

  #discard(block: number, within: number, length: number): void {
    if (this.#view.metadata.table.state(block) === BlockState.FULLY_PRESENT) this.#zero(block, within, length, true);
  }

  /** Makes part of a block read as zeroes, whatever reads the image. */
  #zero(block: number, within: number, length: number, unmap: boolean): void {
    const { table } = this.#view.metadata;
    const { diskBytes } = this.#image.layout.geometry;
    const start = block * this.#blockBytes;
    const isWhole = within === 0 && length === Math.min(this.#blockBytes, diskBytes - start);
    const state = table.state(block);
    switch (state) {
      case BlockState.FULLY_PRESENT:
        table.lookup(start + within, length);
        this.#file.zero(table.host, length, unmap);
        if (isWhole && unmap) table.unmap(block);
        return;
      case BlockState.ZERO:
        return;
      default: {
        // What it reads as is up to each program, but for zeroes that are said to be ones.
        const kept = table.keptPlace(block);
        if (kept === undefined) table.zero(block);
        else {
          this.#file.zero(kept, this.#blockBytes, this.#image.punch);
          if (state !== BlockState.UNMAPPED) table.unmap(block);
        }
      }
    }
  }

  #fail(tag: number, error: unknown): void {
    if (!(error instanceof ImageIoError)) throw error;
    log.debug(error.message);
    this.#raw.finish(tag, error.errno);
  }
}
