import { readSync } from "node:fs";
import { DiskImageError } from "./image-error.ts";
import { VHD_FOOTER_BYTES, vhdKind } from "./vhd-footer.ts";

/** What an image file may contain. */
export type ImageFormat = "raw" | "qcow2" | "vhd" | "dynamic-vhd" | "differencing-vhd" | "vhdx" | "vmdk";

/** Qcow2 header: magic. */
const QCOW2_MAGIC = "QFI\xfb";
/** VHDX file type identifier ([MS-VHDX] 2.2.1). */
export const VHDX_SIGNATURE = "vhdxfile";
/** First line of a VMDK text descriptor. */
const VMDK_SIGNATURE = "# Disk DescriptorFile";
const VMDK_FLAT = /^createType\s*=\s*"(monolithicFlat|twoGbMaxExtentFlat)"\s*$/m;
/** A text descriptor is small: what is larger is a disk that happens to start like one. */
const VMDK_MAX_BYTES = 64 * 1024;

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
    if (size >= VHD_FOOTER_BYTES && vhdKind(part(fd, size - VHD_FOOTER_BYTES, VHD_FOOTER_BYTES)) === "vhd")
      return "vhd";
    // Other than a fixed one, these start with a copy of their footer.
    const kind = vhdKind(head.subarray(0, VHD_FOOTER_BYTES));
    if (kind === "dynamic-vhd" || kind === "differencing-vhd") return kind;
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
