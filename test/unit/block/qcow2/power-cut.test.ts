import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Qcow2Image } from "../../../../src/block/qcow2/image.ts";
import { viewOf } from "../../../../src/block/qcow2/image.ts";
import { Qcow2Disk } from "../../../../src/block/qcow2/qcow2-disk.ts";
import { RawDisk } from "../../../../src/block/raw-disk.ts";
import { setIovec } from "../../../../src/host/iovec.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { Random } from "../../random.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { contentsOf, qemu } from "../qemu.ts";
import { type FileEvent, RecordingEngine, RecordingFile } from "./recorder.ts";

const SECTOR = 512;
const folder = new TestFolder();
afterAll(() => folder.remove());

/** What each sector may hold after a cut, by how much of the file's history has taken place. */
interface Moment {
  /** Events before. */
  readonly events: number;
  /** Whether all of it has been flushed; else sectors that may have been changed since. */
  readonly flushed: boolean;
  /** The number in each sector, as the guest sees it. */
  readonly sectors: Uint32Array;
}

/** A disk whose every write is recorded. Each sector holds the number of the write that it is from. */
class RecordedDisk {
  readonly file: RecordingFile;
  readonly moments: Moment[] = [];
  readonly #disk: Qcow2Disk;
  readonly #close: () => void;
  readonly #memory = mapAnonymous(1 << 20);
  readonly #sectors: Uint32Array;
  readonly #clusterSectors: number;
  readonly #keepsDiscarded: boolean;
  #writes = 0;

  constructor(path: string, start: Uint32Array) {
    const opened = openAnyImage(path, { format: "qcow2", backingFiles: true });
    const image = opened.image as Qcow2Image;
    this.file = new RecordingFile(image.cachedFd);
    const view = viewOf(image, this.file);
    const iovecs = mapAnonymous(4096);
    const file = { fd: image.fd, cachedFd: image.cachedFd, alignment: 1, isDevice: false, endsInZeroes: true };
    const raw = new RawDisk(file, new RecordingEngine(this.file), iovecs, 4, 4);
    this.#disk = new Qcow2Disk(image, view, this.file, raw, 0);
    this.#close = () => {
      this.#disk.close();
      opened.close();
    };
    this.#sectors = start.slice();
    this.#clusterSectors = 2 ** image.header.clusterBits / SECTOR;
    this.#keepsDiscarded = image.header.version === 2 && image.header.backing !== undefined;
    this.#remember(true);
  }

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
    const unit = this.#clusterSectors;
    const end = sector + count === this.size ? this.size : Math.floor((sector + count) / unit) * unit;
    const from = Math.ceil(sector / unit) * unit;
    if (!this.#keepsDiscarded && from < end) this.#sectors.fill(0, from, end);
    this.#finish(false);
  }

  flush(): void {
    this.#disk.flush(0);
    this.#finish(true);
  }

  close(): void {
    this.#close();
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

/** The file as it may be after a cut: all that was made durable, and of what came after an arbitrary part. */
function cut(start: Uint8Array, events: readonly FileEvent[], at: number, random: Random): Uint8Array {
  const lastSync = events.slice(0, at).findLastIndex(({ kind }) => kind === "sync");
  const keepAll = random.below(4) === 0;
  let file = start.slice();
  events.slice(0, at).forEach((event, i) => {
    if (event.kind === "sync") return;
    for (let from = 0; from < event.bytes.length; from += SECTOR) {
      if (i > lastSync && !keepAll && random.below(2) === 0) continue;
      const part = event.bytes.subarray(from, from + SECTOR);
      const end = event.offset + from + part.length;
      if (end > file.length) {
        const longer = new Uint8Array(end);
        longer.set(file);
        file = longer;
      }
      file.set(part, event.offset + from);
    }
  });
  return file;
}

/** The image is whole, but for clusters that are lost. */
function expectWhole(path: string): void {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["qemu-img", "check", "-f", "qcow2", path]);
  // 3: leaked clusters only.
  if (exitCode !== 0 && exitCode !== 3) throw new Error(`qemu-img check: status ${exitCode}\n${stdout}${stderr}`);
}

function expectContents(actual: Uint8Array, moments: readonly Moment[], events: number): void {
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

interface Case {
  readonly clusterBytes: number;
  readonly compat: "0.10" | "1.1";
  readonly backing: boolean;
  readonly snapshot: boolean;
}

function makeImage({ clusterBytes, compat, backing, snapshot }: Case, sectors: number): [string, Uint32Array] {
  const path = join(folder.path, "image.qcow2");
  const start = new Uint32Array(sectors);
  const options = `compat=${compat},cluster_size=${clusterBytes}`;
  const below: string[] = [];
  if (backing) {
    const base = Buffer.alloc(sectors * SECTOR);
    for (let sector = 0; sector < sectors; sector++) {
      start[sector] = 1_000_000 + sector;
      base.writeUInt32LE(1_000_000 + sector, sector * SECTOR);
    }
    below.push("-b", folder.file("base.raw", base), "-F", "raw");
  }
  qemu("qemu-img", "create", "-q", "-f", "qcow2", ...below, "-o", options, path, String(sectors * SECTOR));
  if (snapshot) {
    qemu("qemu-io", "-f", "qcow2", "-c", `write -q -P 0 0 ${(sectors * SECTOR) / 2}`, path);
    start.fill(0, 0, sectors / 2);
    qemu("qemu-img", "snapshot", "-q", "-c", "before", path);
  }
  return [path, start];
}

const CASES: Case[] = [
  { clusterBytes: 512, compat: "1.1", backing: false, snapshot: false },
  { clusterBytes: 4096, compat: "1.1", backing: true, snapshot: false },
  { clusterBytes: 65536, compat: "1.1", backing: false, snapshot: false },
  { clusterBytes: 4096, compat: "0.10", backing: true, snapshot: true },
  { clusterBytes: 65536, compat: "1.1", backing: true, snapshot: true },
];
const { CH_QCOW2_CUTS } = process.env;
const CUTS = Number(CH_QCOW2_CUTS ?? 6);

describe("power is cut at any write", () => {
  test.each(CASES)(
    "$clusterBytes, $compat, backing file: $backing, snapshot: $snapshot",
    async (of) => {
      const random = new Random(of.clusterBytes + (of.backing ? 1 : 0));
      const [path, sectors] = makeImage(of, 2048);
      const start = new Uint8Array(readFileSync(path));
      const disk = new RecordedDisk(path, sectors);
      for (let i = 0; i < 120; i++) {
        const sector = random.below(disk.size);
        const count = 1 + random.below(Math.min(disk.size - sector, 1 + random.below(200)));
        const what = random.below(12);
        if (what < 6) disk.write(sector, count);
        else if (what < 8) disk.zero(sector, count, what === 6);
        else if (what < 10) disk.discard(sector, count);
        else disk.flush();
      }
      disk.flush();
      const { events } = disk.file;
      const { moments } = disk;
      disk.close();
      const cutPath = join(folder.path, "cut.qcow2");
      for (let i = 0; i < CUTS; i++) {
        const at = i === 0 ? events.length : random.below(events.length + 1);
        writeFileSync(cutPath, cut(start, events, at, random));
        expectWhole(cutPath);
        expectContents(await contentsOf(cutPath, join(folder.path, "cut.raw")), moments, at);
      }
    },
    120_000,
  );
});
