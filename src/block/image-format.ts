import { readSync } from "node:fs";
import { DiskImageError } from "./image-error.ts";

/** What an image file may contain. */
export type ImageFormat = "raw" | "qcow2" | "vhd" | "vhdx" | "vmdk";

const SECTOR = 512;

/** Qcow2 header: magic. */
const QCOW2_MAGIC = "QFI\xfb";
/** VHDX file type identifier ([MS-VHDX] 2.2.1). */
const VHDX_SIGNATURE = "vhdxfile";
/** First line of a VMDK text descriptor. */
const VMDK_SIGNATURE = "# Disk DescriptorFile";
const VMDK_FLAT = /^createType\s*=\s*"(monolithicFlat|twoGbMaxExtentFlat)"\s*$/m;
/** A text descriptor is small: what is larger is a disk that happens to start like one. */
const VMDK_MAX_BYTES = 64 * 1024;

/** VHD hard disk footer, big-endian: cookie, disk type, checksum. */
const VHD_COOKIE = "conectix";
const VHD_TYPE_OFFSET = 60;
const VHD_CHECKSUM_OFFSET = 64;
const VHD_FIXED = 2;

/**
 * Looks at an image's contents.
 * @param path the image, for error messages
 * @param fd the image, open for reading without O_DIRECT
 * @param size its bytes
 * @throws DiskImageError when it cannot be read
 */
export function detectFormat(path: string, fd: number, size: number): ImageFormat {
  try {
    const head = part(fd, 0, Math.min(size, VMDK_MAX_BYTES));
    const text = head.toString("latin1");
    if (text.startsWith(QCOW2_MAGIC)) return "qcow2";
    if (size >= SECTOR && isFixedVhdFooter(part(fd, size - SECTOR, SECTOR))) return "vhd";
    if (text.startsWith(VHDX_SIGNATURE)) return "vhdx";
    if (size <= VMDK_MAX_BYTES && text.startsWith(VMDK_SIGNATURE) && VMDK_FLAT.test(text)) return "vmdk";
    return "raw";
  } catch (cause) {
    throw new DiskImageError(path, "cannot be read", { cause });
  }
}

function part(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const count = readSync(fd, bytes, 0, length, offset);
  return bytes.subarray(0, count);
}

function isFixedVhdFooter(footer: Buffer): boolean {
  if (footer.length < SECTOR || footer.toString("latin1", 0, VHD_COOKIE.length) !== VHD_COOKIE) return false;
  if (footer.readUInt32BE(VHD_TYPE_OFFSET) !== VHD_FIXED) return false;
  let sum = 0;
  for (const [at, byte] of footer.entries()) if (at < VHD_CHECKSUM_OFFSET || at >= VHD_CHECKSUM_OFFSET + 4) sum += byte;
  return footer.readUInt32BE(VHD_CHECKSUM_OFFSET) === ~sum >>> 0;
}
