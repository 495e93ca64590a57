import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checksumOf, crc32c } from "../../../../src/block/vhdx/crc32c.ts";
import { DiskDriver } from "../disk-driver.ts";
import { qemu } from "../qemu.ts";

/** Where the parts of an image that QEMU makes lie, as [MS-VHDX] has them. */
export const HEADERS = [64 << 10, 128 << 10] as const;
export const REGION_TABLES = [192 << 10, 256 << 10] as const;
const REGION_TABLE_BYTES = 64 << 10;
const HEADER_BYTES = 4096;
export const MIB = 1 << 20;

/** Where things are in one image. */
export interface Map {
  readonly log: number;
  readonly bat: number;
  readonly metadata: number;
  /** Of metadata items, by the first four bytes of their identifiers. */
  readonly items: ReadonlyMap<number, number>;
}

export const ItemId = {
  FILE_PARAMETERS: 0xcaa16737,
  VIRTUAL_DISK_SIZE: 0x2fa54224,
  VIRTUAL_DISK_ID: 0xbeca12ab,
  LOGICAL_SECTOR_SIZE: 0x8141bf1d,
  PHYSICAL_SECTOR_SIZE: 0xcda348c7,
} as const;

export function mapOf(image: Buffer): Map {
  const regions = new Map<number, number>();
  const [table] = REGION_TABLES;
  for (let i = 0; i < image.readUInt32LE(table + 8); i++) {
    const at = table + 16 + 32 * i;
    regions.set(image.readUInt32LE(at), Number(image.readBigUInt64LE(at + 16)));
  }
  const metadata = regions.get(0x8b7ca206) ?? 0;
  const items = new Map<number, number>();
  for (let i = 0; i < image.readUInt16LE(metadata + 10); i++) {
    const at = metadata + 32 + 32 * i;
    items.set(image.readUInt32LE(at), metadata + image.readUInt32LE(at + 16));
  }
  return {
    log: Number(image.readBigUInt64LE(HEADERS[0] + 72)),
    bat: regions.get(0x2dc27766) ?? 0,
    metadata,
    items,
  };
}

/** Puts the checksums right of both headers and both region tables, and of the log entries in the places that we write them to. */
export function fixChecksums(image: Buffer): void {
  const fix = (at: number, length: number): void => {
    const part = image.subarray(at, at + length);
    if (part.length === length) part.writeUInt32LE(checksumOf(part), 4);
  };
  for (const at of HEADERS) fix(at, HEADER_BYTES);
  for (const at of REGION_TABLES) fix(at, REGION_TABLE_BYTES);
  const log = Number(image.readBigUInt64LE(HEADERS[0] + 72));
  for (const at of [log, log + (512 << 10)]) {
    if (at + 4096 > image.length || image.toString("latin1", at, at + 4) !== "loge") continue;
    const length = image.readUInt32LE(at + 8);
    if (length >= 4096 && length <= MIB) fix(at, length);
  }
}

/** Makes an image with QEMU. @param options of qemu-img create */
export function makeImage(path: string, size: string, options: string): string {
  qemu("qemu-img", "create", "-q", "-f", "vhdx", "-o", `block_size=1M,log_size=1M,${options}`, path, size);
  return path;
}

/** An image with blocks in all states, as its user left it when the power went: its log has to be replayed. */
export async function dirtyImage(folder: string, size = "4M"): Promise<Buffer> {
  const path = makeImage(join(folder, "dirty.vhdx"), size, "block_state_zero=off");
  qemu("qemu-io", "-f", "vhdx", "-c", "write -q -P 3 100k 50k", "-c", "write -q -P 4 1M 1M", path);
  const copy = join(folder, "copy.vhdx");
  const before = readFileSync(path);
  {
    using driver = await DiskDriver.open(path, { format: "vhdx" });
    driver.discard(MIB, MIB);
    driver.zero(2 * MIB, 512, true);
    driver.write(3 * MIB + 4096, new Uint8Array(4096).fill(9));
    driver.flush();
    copyFileSync(path, copy);
  }
  // The block table as it was: what the log says has not got there.
  const dirty = readFileSync(copy);
  const { bat } = mapOf(dirty);
  before.copy(dirty, bat, bat, bat + MIB);
  return dirty;
}

export { crc32c };
