import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checksumOf } from "../../../../src/block/vhdx/crc32c.ts";
import { qemu } from "../qemu.ts";
import { fixChecksums, HEADERS, MIB, makeImage, mapOf } from "./corpus.ts";

export const SECTOR = 4096;
/** Of the log. */
export const GUID = Buffer.from("guid of this log");
/** Bytes of the disk. */
export const SIZE = 4 * MIB;

/** A change of the file. */
export interface Update {
  readonly offset: number;
  /** A sector, or how many bytes of zeroes. */
  readonly data: Buffer | number;
}

/** A log entry as [MS-VHDX] 2.3.1 has it. */
export function logEntry(sequence: number, tail: number, fileBytes: number, updates: readonly Update[]): Buffer {
  const descriptors = Buffer.alloc(Math.ceil((64 + 32 * updates.length) / SECTOR) * SECTOR);
  const data: Buffer[] = [];
  descriptors.write("loge");
  descriptors.writeUInt32LE(tail, 12);
  descriptors.writeBigUInt64LE(BigInt(sequence), 16);
  descriptors.writeUInt32LE(updates.length, 24);
  GUID.copy(descriptors, 32);
  descriptors.writeBigUInt64LE(BigInt(fileBytes), 48);
  descriptors.writeBigUInt64LE(BigInt(fileBytes), 56);
  updates.forEach((update, i) => {
    const at = 64 + 32 * i;
    descriptors.writeBigUInt64LE(BigInt(update.offset), at + 16);
    descriptors.writeBigUInt64LE(BigInt(sequence), at + 24);
    if (typeof update.data === "number") {
      descriptors.write("zero", at);
      descriptors.writeBigUInt64LE(BigInt(update.data), at + 8);
      return;
    }
    descriptors.write("desc", at);
    update.data.copy(descriptors, at + 4, SECTOR - 4);
    update.data.copy(descriptors, at + 8, 0, 8);
    const sector = Buffer.from(update.data);
    sector.write("data");
    sector.writeUInt32LE(0, 4);
    sector.writeUInt32LE(sequence, SECTOR - 4);
    data.push(sector);
  });
  const entry = Buffer.concat([descriptors, ...data]);
  entry.writeUInt32LE(entry.length, 8);
  entry.writeUInt32LE(checksumOf(entry), 4);
  return entry;
}

/** An image whose headers say that there is something in its log. */
export interface MadeImage {
  readonly image: Buffer;
  readonly bat: number;
  readonly metadata: number;
  /** The first sector of the block table. */
  readonly table: Buffer;
  /** The same without the second block. */
  readonly withoutSecond: Buffer;
  /** Puts an entry where it goes in the log, from its end on at its start. @returns where it ends */
  put(position: number, entry: Buffer): number;
}

/** Makes an image with data in its first two blocks. */
export function madeImage(folder: string): MadeImage {
  const path = makeImage(join(folder, "made.vhdx"), `${SIZE}`, "subformat=dynamic");
  qemu("qemu-io", "-f", "vhdx", "-c", "write -q -P 5 0 1M", "-c", "write -q -P 6 1M 1M", path);
  const image = readFileSync(path);
  const { log, bat, metadata } = mapOf(image);
  const table = Buffer.from(image.subarray(bat, bat + SECTOR));
  const withoutSecond = Buffer.from(table);
  withoutSecond.writeBigUInt64LE(0n, 8);
  for (const at of HEADERS) GUID.copy(image, at + 48);
  fixChecksums(image);
  image.fill(0xee, log, log + MIB);
  const put = (position: number, entry: Buffer): number => {
    const first = Math.min(entry.length, MIB - position);
    entry.copy(image, log + position, 0, first);
    entry.copy(image, log, first);
    return (position + entry.length) % MIB;
  };
  return { image, bat, metadata, table, withoutSecond, put };
}
