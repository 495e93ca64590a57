import { expect } from "bun:test";
import { closeSync, fstatSync, ftruncateSync, openSync, writeFileSync, writeSync } from "node:fs";
import type { Disk } from "../../../src/block/disk.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import { mapAnonymous, munmap } from "../../../src/host/mmap.ts";
import type { Random } from "../random.ts";
import type { FileEvent, RecordingFile } from "./recorder.ts";

export const SECTOR = 512;

/** What each sector may hold after a cut, by how much of the file's history has taken place. */
export interface Moment {
  /** Events before. */
  readonly events: number;
  /** Whether all of it has been flushed; else sectors that may have been changed since. */
  readonly flushed: boolean;
  /** The number in each sector, as the guest sees it. */
  readonly sectors: Uint32Array;
}

/** A disk whose every write is recorded. Each sector holds the number of the write that it is from. */
export class RecordedDisk implements Disposable {
  readonly file: RecordingFile;
  readonly moments: Moment[] = [];
  readonly #disk: Disk;
  readonly #memory;
  readonly #sectors: Uint32Array;
  readonly #discarded: (sector: number, count: number) => readonly [number, number];
  #writes = 0;

  /**
   * @param disk on `file`, with no request under way
   * @param start the numbers in the sectors
   * @param discarded which sectors [from, to) of a range read as zeroes once it was discarded
   */
  constructor(
    disk: Disk,
    file: RecordingFile,
    start: Uint32Array,
    discarded: (sector: number, count: number) => readonly [number, number],
  ) {
    this.file = file;
    this.#disk = disk;
    this.#sectors = start.slice();
    this.#memory = mapAnonymous(start.length * SECTOR);
    this.#discarded = discarded;
    this.#remember(true);
  }

  /** Sectors of the disk. */
  get size(): number {
    return this.#sectors.length;
  }

  write(sector: number, count: number): void {
    const number = ++this.#writes;
    this.#memory.u8.fill(0, 0, count * SECTOR);
    for (let i = 0; i < count; i++) this.#memory.view.setUint32(i * SECTOR, number, true);
    setIovec(this.#disk.segments(0), 0, this.#memory.address, count * SECTOR);
    this.#disk.write(0, sector * SECTOR, count * SECTOR, 1);
    this.#sectors.fill(number, sector, sector + count);
    this.#finish(false);
  }

  zero(sector: number, count: number, mayUnmap: boolean): void {
    this.#disk.writeZeroes(0, sector * SECTOR, count * SECTOR, mayUnmap);
    this.#sectors.fill(0, sector, sector + count);
    this.#finish(false);
  }

  discard(sector: number, count: number): void {
    this.#disk.discard(0, sector * SECTOR, count * SECTOR);
    const [from, to] = this.#discarded(sector, count);
    if (from < to) this.#sectors.fill(0, from, to);
    this.#finish(false);
  }

  flush(): void {
    this.#disk.flush(0);
    this.#finish(true);
  }

  [Symbol.dispose](): void {
    this.#disk.close();
    munmap(this.#memory.address, this.#memory.size);
  }

  #finish(flushed: boolean): void {
    while (!this.#disk.next()) this.#disk.wait(true);
    expect(this.#disk.error).toBe(0);
    this.#remember(flushed);
  }

  #remember(flushed: boolean): void {
    this.moments.push({ events: this.file.events.length, flushed, sectors: this.#sectors.slice() });
  }
}

/**
 * Makes the file as it may be after a cut: with all that was made durable, and of what came after an arbitrary part.
 * @param start the file before all events
 * @param at how many events took place, in all files
 * @param file its number
 */
export function writeCut(
  path: string,
  start: Uint8Array,
  events: readonly FileEvent[],
  at: number,
  random: Random,
  file = 0,
): void {
  const lastSync = events.slice(0, at).findLastIndex((event) => event.kind === "sync" && event.file === file);
  const keepAll = random.below(4) === 0;
  writeFileSync(path, start);
  const fd = openSync(path, "r+");
  try {
    events.slice(0, at).forEach((event, i) => {
      if (event.kind === "sync" || event.file !== file) return;
      const fate = i <= lastSync || keepAll ? "whole" : random.pick(["whole", "lost", "torn"]);
      if (fate === "lost") return;
      if (event.kind === "extend") {
        ftruncateSync(fd, Math.max(event.size, fstatSync(fd).size));
        return;
      }
      if (fate === "whole") {
        writeSync(fd, event.bytes, 0, event.bytes.length, event.offset);
        return;
      }
      for (let from = 0; from < event.bytes.length; from += SECTOR)
        if (random.below(2) !== 0)
          writeSync(fd, event.bytes, from, Math.min(SECTOR, event.bytes.length - from), event.offset + from);
    });
  } finally {
    closeSync(fd);
  }
}

/** @throws Error when a sector holds what it cannot hold after a cut behind that many events */
export function expectContents(actual: Uint8Array, moments: readonly Moment[], events: number): void {
  const reached = moments.filter((moment) => moment.events <= events);
  const flushed = reached.findLastIndex((moment) => moment.flushed);
  // The operation under way may have taken place in part.
  const possible = moments.slice(flushed, reached.length + 1);
  const view = new DataView(actual.buffer, actual.byteOffset);
  const size = possible[0]?.sectors.length ?? 0;
  for (let sector = 0; sector < size; sector++) {
    const found = view.getUint32(sector * SECTOR, true);
    if (possible.some(({ sectors }) => sectors[sector] === found)) continue;
    const wanted = possible.map(({ sectors }) => sectors[sector]);
    throw new Error(`sector ${sector} holds ${found} after event ${events}, possible: ${[...new Set(wanted)]}`);
  }
}
