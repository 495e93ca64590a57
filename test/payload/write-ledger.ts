import { readFileSync, writeFileSync } from "node:fs";

/** Bytes of the disk that are written as one; each of its sectors holds the version of the write. */
export const UNIT_BYTES = 4096;
const SECTOR_BYTES = 512;
const SECTORS_PER_UNIT = UNIT_BYTES / SECTOR_BYTES;
const WORDS_PER_SECTOR = SECTOR_BYTES / 4;

const HEADER_BYTES = 64;
const ENTRY_BYTES = 32;
/** Numbers of the header, by place. */
const Field = { UNITS: 0, NEXT_VERSION: 1, FLUSHES: 2, WRITES: 3, ZEROES: 4, DISCARDS: 5 } as const;

/** Complaints that one comparison keeps. */
const MOST_COMPLAINTS = 8;

/** What the guest did in its life. */
export interface GuestWork {
  readonly flushes: number;
  readonly writes: number;
  readonly zeroes: number;
  readonly discards: number;
}

/** Fills a sector as the guest does (guest/durable.c). @param words of the whole disk */
function fillSector(words: Uint32Array, sector: number, version: number): void {
  const at = sector * WORDS_PER_SECTOR;
  words[at] = version;
  words[at + 1] = Math.floor(version / 2 ** 32);
  words[at + 2] = sector;
  for (let i = 3; i < WORDS_PER_SECTOR; i++) words[at + i] = patternWord(version, sector, i);
}

function patternWord(version: number, sector: number, i: number): number {
  return (Math.imul(version, 0x9e3779b1) + sector * 256 + i) >>> 0;
}

/** What a sector holds: the version of a write, 0 for zeroes, or `undefined` where it is neither. */
function versionOf(words: Uint32Array, sector: number): number | undefined {
  const at = sector * WORDS_PER_SECTOR;
  const version = (words[at] ?? 0) + (words[at + 1] ?? 0) * 2 ** 32;
  if (version === 0) {
    for (let i = 0; i < WORDS_PER_SECTOR; i++) if (words[at + i] !== 0) return undefined;
    return 0;
  }
  if (words[at + 2] !== sector) return undefined;
  for (let i = 3; i < WORDS_PER_SECTOR; i++) if (words[at + i] !== patternWord(version, sector, i)) return undefined;
  return version;
}

/**
 * What a disk owes: memory that the payload `durable` shares with the host, a file, so that it outlives the VMM. Of each unit of
 * the disk it holds the version that a completed flush covers, the last one sent to the disk, and the last that reads as zeroes.
 */
export class WriteLedger {
  readonly path: string;
  readonly units: number;
  /** Of the file, as ivshmem takes it. */
  readonly size: number;

  constructor(path: string, units: number) {
    this.path = path;
    this.units = units;
    this.size = 2 ** Math.ceil(Math.log2(HEADER_BYTES + units * ENTRY_BYTES));
  }

  /** A disk on which nothing was written. @returns what it holds */
  startEmpty(): Uint8Array {
    this.#start(0);
    return new Uint8Array(this.units * UNIT_BYTES);
  }

  /** A disk that is full already. @returns what it holds */
  startFull(): Uint8Array {
    this.#start(1);
    const words = new Uint32Array((this.units * UNIT_BYTES) / 4);
    for (let sector = 0; sector < this.units * SECTORS_PER_UNIT; sector++) fillSector(words, sector, 1);
    return new Uint8Array(words.buffer);
  }

  /** What the guest did since the last `settle`. */
  get work(): GuestWork {
    const header = this.#read().header;
    const field = (index: number): number => Number(header[index] ?? 0n);
    return {
      flushes: field(Field.FLUSHES),
      writes: field(Field.WRITES),
      zeroes: field(Field.ZEROES),
      discards: field(Field.DISCARDS),
    };
  }

  /**
   * Compares what a disk holds with what it owes, and has the ledger go on from what it holds.
   * @returns complaints; none when nothing is lost
   */
  settle(contents: Uint8Array): string[] {
    const { bytes, header, entries } = this.#read();
    if (contents.length !== this.units * UNIT_BYTES) return [`the disk has ${contents.length} bytes`];
    const words = new Uint32Array(contents.buffer, contents.byteOffset, contents.length / 4);
    const complaints: string[] = [];
    for (let unit = 0; unit < this.units; unit++) {
      const acknowledged = Number(entries[unit * 4] ?? 0n);
      const issued = Number(entries[unit * 4 + 1] ?? 0n);
      const zeroed = Number(entries[unit * 4 + 2] ?? 0n);
      let oldest = Number.POSITIVE_INFINITY;
      let zeroSectors = 0;
      for (let i = 0; i < SECTORS_PER_UNIT; i++) {
        const sector = unit * SECTORS_PER_UNIT + i;
        const version = versionOf(words, sector);
        const isOwed = version === 0 ? zeroed >= acknowledged : version !== undefined && version >= acknowledged;
        if (version === undefined || !isOwed || version > issued) {
          const wanted = `${acknowledged} to ${issued}, zeroes at ${zeroed}`;
          complaints.push(`sector ${sector} holds ${version ?? "what nobody wrote"} instead of ${wanted}`);
        } else if (version === 0) zeroSectors++;
        else oldest = Math.min(oldest, version);
      }
      // Of a unit that the kill tore, the next write decides.
      if (zeroSectors === SECTORS_PER_UNIT) entries[unit * 4] = BigInt(zeroed);
      else if (zeroSectors === 0 && oldest !== Number.POSITIVE_INFINITY) entries[unit * 4] = BigInt(oldest);
    }
    for (const field of [Field.FLUSHES, Field.WRITES, Field.ZEROES, Field.DISCARDS]) header[field] = 0n;
    writeFileSync(this.path, bytes);
    return complaints.length > MOST_COMPLAINTS
      ? [...complaints.slice(0, MOST_COMPLAINTS), `... ${complaints.length} in all`]
      : complaints;
  }

  #start(version: number): void {
    const bytes = new Uint8Array(this.size);
    const header = new BigUint64Array(bytes.buffer);
    header[Field.UNITS] = BigInt(this.units);
    header[Field.NEXT_VERSION] = BigInt(version + 1);
    const entries = new BigUint64Array(bytes.buffer, HEADER_BYTES);
    for (let unit = 0; unit < this.units; unit++) {
      entries[unit * 4] = BigInt(version);
      entries[unit * 4 + 1] = BigInt(version);
    }
    writeFileSync(this.path, bytes);
  }

  #read(): { readonly bytes: Uint8Array; readonly header: BigUint64Array; readonly entries: BigUint64Array } {
    const bytes = new Uint8Array(readFileSync(this.path));
    const { buffer } = bytes;
    return {
      bytes,
      header: new BigUint64Array(buffer, 0, HEADER_BYTES / 8),
      entries: new BigUint64Array(buffer, HEADER_BYTES),
    };
  }
}
