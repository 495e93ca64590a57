import { readSync } from "node:fs";
import { DiskImageError } from "./image-error.ts";
import { SECTOR_BYTES } from "./topology.ts";

/** Bytes of the footer at a VHD image's end (Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format"). */
export const VHD_FOOTER_BYTES = 512;

const COOKIE = "conectix";
/** Where the footer's fields lie; all are big-endian. */
const Field = { VERSION: 12, DATA_OFFSET: 16, CURRENT_SIZE: 48, DISK_TYPE: 60, CHECKSUM: 64 } as const;
const CHECKSUM_BYTES = 4;
const VERSION_1_0 = 0x0001_0000;
/** What a VHD image is by the disk type in its footer: a plain one is fixed. */
const KINDS = { 2: "vhd", 3: "dynamic-vhd", 4: "differencing-vhd" } as const;
const isKnownType = (type: number): type is keyof typeof KINDS => type in KINDS;
/** Data offset of a disk without a dynamic disk header. */
const NO_DATA_OFFSET = 0xffff_ffff_ffff_ffffn;

/** What kind of VHD image `bytes` are the footer of, or undefined when its checksum tells that they are none. */
export function vhdKind(bytes: Buffer): (typeof KINDS)[keyof typeof KINDS] | undefined {
  if (bytes.length < VHD_FOOTER_BYTES || bytes.toString("latin1", 0, COOKIE.length) !== COOKIE) return undefined;
  let sum = 0;
  for (const [at, byte] of bytes.entries())
    if (at < Field.CHECKSUM || at >= Field.CHECKSUM + CHECKSUM_BYTES) sum += byte;
  if (bytes.readUInt32BE(Field.CHECKSUM) !== ~sum >>> 0) return undefined;
  const type = bytes.readUInt32BE(Field.DISK_TYPE);
  return isKnownType(type) ? KINDS[type] : undefined;
}

/**
 * Reads what a fixed VHD image says of its disk, whose bytes are those from the start of the file.
 * @param path the image, for error messages
 * @param fileBytes size of the file, which ends in the footer
 * @returns bytes of the disk, at most those in front of the footer
 * @throws DiskImageError when the footer cannot be trusted
 */
export function fixedVhdSize(path: string, fd: number, fileBytes: number): number {
  const footer = Buffer.alloc(VHD_FOOTER_BYTES);
  try {
    readSync(fd, footer, 0, VHD_FOOTER_BYTES, fileBytes - VHD_FOOTER_BYTES);
  } catch (cause) {
    throw new DiskImageError(path, "cannot be read", { cause });
  }
  if (vhdKind(footer) !== "vhd") throw new DiskImageError(path, "has changed while it was opened");
  const version = footer.readUInt32BE(Field.VERSION);
  if (version !== VERSION_1_0)
    throw new DiskImageError(path, `is VHD version 0x${version.toString(16)}, only 1.0 (0x10000) is known`);
  if (footer.readBigUInt64BE(Field.DATA_OFFSET) !== NO_DATA_OFFSET)
    throw new DiskImageError(
      path,
      "is damaged: its footer is that of a fixed VHD, but points to a dynamic disk's header",
    );
  const size = footer.readBigUInt64BE(Field.CURRENT_SIZE);
  const available = fileBytes - VHD_FOOTER_BYTES;
  if (size > available)
    throw new DiskImageError(
      path,
      `is a VHD disk of ${size} bytes, of which its file has only ${available}: it has been cut short, copy it again`,
    );
  if (size % BigInt(SECTOR_BYTES) !== 0n)
    throw new DiskImageError(path, `is a VHD disk of ${size} bytes, no multiple of ${SECTOR_BYTES}`);
  return Number(size);
}
