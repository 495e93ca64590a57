import { readSync } from "node:fs";
import { DiskImageError } from "../image-error.ts";
import { crc32c } from "./crc32c.ts";
import {
  alignUp,
  DATA_DESCRIPTOR_SIGNATURE,
  DATA_SECTOR_SIGNATURE,
  DataSector,
  Descriptor,
  type Extent,
  guidAt,
  HEADER_SECTION_BYTES,
  LOG_ENTRY_SIGNATURE,
  LogEntryField,
  MAX_FILE_BYTES,
  REGION_TABLE_OFFSETS,
  SECTOR,
  ZERO_SIGNATURE,
} from "./layout.ts";

/** A change of the file that the log holds. */
export interface LogUpdate extends Extent {
  /** Undefined: zeroes. */
  readonly data: Buffer | undefined;
}

/** The entries of the log that have to be replayed. */
export interface LogSequence {
  /** Bytes that the file must have at least. */
  readonly lastFileOffset: number;
  /** The changes, the oldest first. @throws DiskImageError when one is out of place */
  updates(): Generator<LogUpdate>;
}

interface LogEntry {
  /** Bytes from the log's start. */
  readonly position: number;
  readonly length: number;
  readonly tail: number;
  readonly sequence: bigint;
  readonly descriptors: number;
  readonly flushedFileOffset: number;
  readonly lastFileOffset: number;
}

const WINDOW_BYTES = 64 << 10;

/** Reads the log of a file ([MS-VHDX] 2.3). */
export class LogReader {
  readonly #path: string;
  readonly #fd: number;
  readonly #log: Extent;
  readonly #guid: string;
  /** The part of the log that was read last. */
  readonly #window = Buffer.alloc(WINDOW_BYTES);
  #windowStart = -1;

  /**
   * @param path the image, for messages
   * @param guid of the entries that are valid
   */
  constructor(path: string, fd: number, log: Extent, guid: string) {
    this.#path = path;
    this.#fd = fd;
    this.#log = log;
    this.#guid = guid;
  }

  /**
   * Finds the newest sequence that is complete (2.3.3).
   * @param fileSize bytes of the file
   * @throws DiskImageError when there is none, or the file has become too short for it
   */
  activeSequence(fileSize: number): LogSequence {
    let active: LogEntry[] = [];
    for (let position = 0; position < this.#log.length; ) {
      const run = this.#run(position);
      const head = run.at(-1);
      if (head === undefined) {
        position += SECTOR;
        continue;
      }
      const tail = run.findIndex((entry) => entry.position === head.tail);
      if (tail >= 0 && head.sequence > (active.at(-1)?.sequence ?? 0n)) active = run.slice(tail);
      // A run that is not complete is so from none of its entries on.
      position = head.position + head.length > position ? head.position + head.length : this.#log.length;
    }
    const head = active.at(-1);
    if (head === undefined)
      throw new DiskImageError(this.#path, "was not closed properly, and its log is damaged: restore it from a backup");
    if (head.flushedFileOffset > fileSize)
      throw new DiskImageError(this.#path, "is shorter than its log tells: it has been cut short, copy it again");
    if (head.lastFileOffset > MAX_FILE_BYTES)
      throw new DiskImageError(this.#path, `has a log that makes it ${head.lastFileOffset} bytes long`);
    return { lastFileOffset: head.lastFileOffset, updates: () => this.#updates(active) };
  }

  /** Entries that follow each other, each one newer than the one before. */
  #run(start: number): LogEntry[] {
    const run: LogEntry[] = [];
    let bytes = 0;
    for (let position = start; ; ) {
      const entry = this.#entry(position);
      if (entry === undefined || bytes + entry.length > this.#log.length) return run;
      const last = run.at(-1);
      if (last !== undefined && entry.sequence !== last.sequence + 1n) return run;
      run.push(entry);
      bytes += entry.length;
      position = (position + entry.length) % this.#log.length;
    }
  }

  /** The entry at a position, when there is a whole one. */
  #entry(position: number): LogEntry | undefined {
    const head = this.#sector(position);
    if (head.toString("latin1", 0, LOG_ENTRY_SIGNATURE.length) !== LOG_ENTRY_SIGNATURE) return undefined;
    if (guidAt(head, LogEntryField.LOG_GUID) !== this.#guid) return undefined;
    const checksum = head.readUInt32LE(LogEntryField.CHECKSUM);
    const entry: LogEntry = {
      position,
      length: head.readUInt32LE(LogEntryField.ENTRY_LENGTH),
      tail: head.readUInt32LE(LogEntryField.TAIL),
      sequence: head.readBigUInt64LE(LogEntryField.SEQUENCE_NUMBER),
      descriptors: head.readUInt32LE(LogEntryField.DESCRIPTOR_COUNT),
      flushedFileOffset: Number(head.readBigUInt64LE(LogEntryField.FLUSHED_FILE_OFFSET)),
      lastFileOffset: Number(head.readBigUInt64LE(LogEntryField.LAST_FILE_OFFSET)),
    };
    const { length, tail, sequence } = entry;
    if (length === 0 || length % SECTOR !== 0 || length > this.#log.length) return undefined;
    if (sequence === 0n || tail % SECTOR !== 0 || tail >= this.#log.length) return undefined;
    return this.#isOrdered(entry) && this.#checksum(entry) === checksum ? entry : undefined;
  }

  /** Whether descriptors and data are the entry's. Of two places, at most one can start such an entry that has the other inside. */
  #isOrdered({ position, length, sequence, descriptors }: LogEntry): boolean {
    const firstData = descriptorBytes(descriptors);
    if (firstData > length) return false;
    let dataSectors = 0;
    for (let i = 0; i < descriptors; i++) {
      const at = LogEntryField.BYTES + i * Descriptor.BYTES;
      const sector = this.#sector(position + at - (at % SECTOR));
      const within = at % SECTOR;
      const signature = sector.toString("latin1", within, within + 4);
      if (signature !== ZERO_SIGNATURE && signature !== DATA_DESCRIPTOR_SIGNATURE) return false;
      if (sector.readBigUInt64LE(within + Descriptor.SEQUENCE_NUMBER) !== sequence) return false;
      if (signature === DATA_DESCRIPTOR_SIGNATURE) dataSectors++;
    }
    if (firstData + dataSectors * SECTOR !== length) return false;
    for (let at = firstData; at < length; at += SECTOR) {
      const sector = this.#sector(position + at);
      if (sector.toString("latin1", 0, DATA_SECTOR_SIGNATURE.length) !== DATA_SECTOR_SIGNATURE) return false;
      const high = BigInt(sector.readUInt32LE(DataSector.SEQUENCE_HIGH));
      if (((high << 32n) | BigInt(sector.readUInt32LE(DataSector.SEQUENCE_LOW))) !== sequence) return false;
    }
    return true;
  }

  #checksum({ position, length }: LogEntry): number {
    let crc = 0;
    for (let at = 0; at < length; at += SECTOR) {
      const sector = this.#sector(position + at);
      if (at > 0) crc = crc32c(sector, crc);
      else {
        const head = Buffer.from(sector);
        head.writeUInt32LE(0, LogEntryField.CHECKSUM);
        crc = crc32c(head);
      }
    }
    return crc;
  }

  *#updates(entries: readonly LogEntry[]): Generator<LogUpdate> {
    for (const { position, descriptors } of entries) {
      let data = descriptorBytes(descriptors);
      let sector = Buffer.alloc(0);
      for (let i = 0; i < descriptors; i++) {
        const at = LogEntryField.BYTES + i * Descriptor.BYTES;
        const within = at % SECTOR;
        if (i === 0 || within === 0) sector = Buffer.from(this.#sector(position + at - within));
        const descriptor = sector.subarray(within, within + Descriptor.BYTES);
        const offset = Number(descriptor.readBigUInt64LE(Descriptor.FILE_OFFSET));
        if (descriptor.toString("latin1", 0, 4) === ZERO_SIGNATURE) {
          const length = Number(descriptor.readBigUInt64LE(Descriptor.ZERO_LENGTH));
          this.#checkPlace(offset, length);
          if (length > 0) yield { offset, length, data: undefined };
          continue;
        }
        this.#checkPlace(offset, SECTOR);
        const contents = Buffer.from(this.#sector(position + data));
        descriptor.copy(contents, 0, Descriptor.LEADING_BYTES, Descriptor.LEADING_BYTES + DataSector.DATA);
        descriptor.copy(contents, DataSector.SEQUENCE_LOW, Descriptor.TRAILING_BYTES, Descriptor.TRAILING_BYTES + 4);
        data += SECTOR;
        yield { offset, length: SECTOR, data: contents };
      }
    }
  }

  /** Nothing that has to stay what it is may be changed through the log: the file's identifier, its headers, the log itself. */
  #checkPlace(offset: number, length: number): void {
    const end = offset + length;
    const { offset: start, length: logBytes } = this.#log;
    const isPlaced = offset % SECTOR === 0 && length % SECTOR === 0 && end <= MAX_FILE_BYTES;
    const isFree = offset >= REGION_TABLE_OFFSETS[0] && (end <= start || offset >= start + logBytes);
    const isInHeader = offset < HEADER_SECTION_BYTES && end > HEADER_SECTION_BYTES;
    if (!isPlaced || !isFree || isInHeader)
      throw new DiskImageError(this.#path, `has a log that is damaged: it writes ${length} bytes at offset ${offset}`);
  }

  /** A sector of the log, whose end is followed by its start. Valid until the next call. */
  #sector(position: number): Buffer {
    const within = position % this.#log.length;
    const start = within - (within % WINDOW_BYTES);
    if (start !== this.#windowStart) {
      this.#windowStart = -1;
      try {
        this.#window.fill(0, readSync(this.#fd, this.#window, 0, WINDOW_BYTES, this.#log.offset + start));
      } catch (cause) {
        throw new DiskImageError(this.#path, "cannot be read", { cause });
      }
      this.#windowStart = start;
    }
    return this.#window.subarray(within - start, within - start + SECTOR);
  }
}

/** Bytes of an entry in front of its data. */
const descriptorBytes = (descriptors: number): number =>
  alignUp(LogEntryField.BYTES + descriptors * Descriptor.BYTES, SECTOR);
