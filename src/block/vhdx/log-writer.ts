import type { MemoryBlock } from "../../host/memory-block.ts";
import type { ImageFile } from "../image-file.ts";
import { checksumOf } from "./crc32c.ts";
import {
  DATA_DESCRIPTOR_SIGNATURE,
  DATA_SECTOR_SIGNATURE,
  DataSector,
  Descriptor,
  type Extent,
  GUID_BYTES,
  LOG_ENTRY_SIGNATURE,
  LogEntryField,
  SECTOR,
} from "./layout.ts";

/** Sectors that one entry changes at most: as many as have room for their descriptors in its first sector. */
export const MAX_ENTRY_SECTORS = (SECTOR - LogEntryField.BYTES) / Descriptor.BYTES;
/** Memory for an entry. */
export const LOG_ENTRY_BYTES = SECTOR * (1 + MAX_ENTRY_SECTORS);
/** The shortest log is 1 MiB: one half holds the newest entry while the next one is written to the other. */
const SLOT_BYTES = 512 << 10;

/** A log entry that is being made. */
export interface EntryHead {
  readonly guid: Uint8Array;
  /** One more than that of the entry before. */
  readonly sequence: number;
  /** Bytes that the file has, durably, and that all of it fits into. */
  readonly fileBytes: number;
}

/**
 * Writes log entries ([MS-VHDX] 2.3.1). What an entry changes is in its place, durably, before the next one is written: each is
 * a sequence of its own. They go to two places in turn, so that the newest one is whole at any time.
 */
export class LogWriter {
  readonly #file: ImageFile;
  readonly #memory: MemoryBlock;
  readonly #log: Extent;
  #count = 0;

  /** @param memory `LOG_ENTRY_BYTES` */
  constructor(file: ImageFile, memory: MemoryBlock, log: Extent) {
    this.#file = file;
    this.#memory = memory;
    this.#log = log;
  }

  /** Begins an entry. */
  begin(): void {
    this.#count = 0;
  }

  /**
   * Adds a sector.
   * @param offset where it goes in the file
   * @param bytes its contents
   * @returns whether there is room for another one
   */
  add(offset: number, bytes: Uint8Array): boolean {
    const { u8, view } = this.#memory;
    const descriptor = LogEntryField.BYTES + this.#count * Descriptor.BYTES;
    const data = SECTOR + this.#count * SECTOR;
    putText(u8, descriptor, DATA_DESCRIPTOR_SIGNATURE);
    u8.set(bytes.subarray(DataSector.SEQUENCE_LOW), descriptor + Descriptor.TRAILING_BYTES);
    u8.set(bytes.subarray(0, DataSector.DATA), descriptor + Descriptor.LEADING_BYTES);
    view.setBigUint64(descriptor + Descriptor.FILE_OFFSET, BigInt(offset), true);
    u8.set(bytes, data);
    putText(u8, data, DATA_SECTOR_SIGNATURE);
    return ++this.#count < MAX_ENTRY_SECTORS;
  }

  /** Writes the entry, which is durable only after a sync. @throws ImageIoError; then the one before is still whole */
  write({ guid, sequence, fileBytes }: EntryHead): void {
    const { u8, view, address } = this.#memory;
    const length = SECTOR + this.#count * SECTOR;
    const number = BigInt(sequence);
    const position = (sequence % 2) * SLOT_BYTES;
    for (let i = 0; i < this.#count; i++) {
      view.setBigUint64(LogEntryField.BYTES + i * Descriptor.BYTES + Descriptor.SEQUENCE_NUMBER, number, true);
      const data = SECTOR + i * SECTOR;
      view.setUint32(data + DataSector.SEQUENCE_HIGH, Number(number >> 32n), true);
      view.setUint32(data + DataSector.SEQUENCE_LOW, Number(number & 0xffff_ffffn), true);
    }
    u8.fill(0, LogEntryField.BYTES + this.#count * Descriptor.BYTES, SECTOR);
    u8.fill(0, 0, LogEntryField.BYTES);
    putText(u8, 0, LOG_ENTRY_SIGNATURE);
    view.setUint32(LogEntryField.ENTRY_LENGTH, length, true);
    view.setUint32(LogEntryField.TAIL, position, true);
    view.setBigUint64(LogEntryField.SEQUENCE_NUMBER, number, true);
    view.setUint32(LogEntryField.DESCRIPTOR_COUNT, this.#count, true);
    u8.set(guid.subarray(0, GUID_BYTES), LogEntryField.LOG_GUID);
    view.setBigUint64(LogEntryField.FLUSHED_FILE_OFFSET, BigInt(fileBytes), true);
    view.setBigUint64(LogEntryField.LAST_FILE_OFFSET, BigInt(fileBytes), true);
    view.setUint32(LogEntryField.CHECKSUM, checksumOf(u8.subarray(0, length)), true);
    this.#file.write(this.#log.offset + position, address, length);
  }
}

function putText(bytes: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
}
