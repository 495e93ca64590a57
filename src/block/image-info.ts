import { closeSync, fstatSync } from "node:fs";
import { DiskImageError } from "./image-error.ts";
import { detectFormat, type ImageFormat } from "./image-format.ts";
import { openImageFile } from "./open-file.ts";
import type { Qcow2Header } from "./qcow2/header.ts";
import { readHeader } from "./qcow2/open.ts";
import { blockDeviceSize, SECTOR_BYTES } from "./topology.ts";
import { fixedVhdSize } from "./vhd-footer.ts";

/** What an image says of itself. */
export interface ImageInfo {
  readonly path: string;
  readonly format: ImageFormat;
  /** Bytes of the disk; undefined where the format is only known by name. */
  readonly diskBytes: number | undefined;
  /** Bytes that the file takes on the host. */
  readonly allocatedBytes: number;
  readonly qcow2: Qcow2Header | undefined;
}

/**
 * Looks at an image without locking it, so also at that of a running VM, and without opening what it is based on.
 * @throws DiskImageError
 */
export function imageInfo(path: string): ImageInfo {
  const fd = openImageFile(path, true, 0);
  try {
    const stat = fstatSync(fd);
    const fileBytes = stat.isBlockDevice() ? blockDeviceSize(fd) : stat.size;
    if (fileBytes === undefined) throw new DiskImageError(path, "is a block device that does not tell its size");
    const format = detectFormat(path, fd, fileBytes);
    const qcow2 = format === "qcow2" ? readHeader(path, fd, fileBytes) : undefined;
    const size = { raw: fileBytes, vhd: undefined, vhdx: undefined, vmdk: undefined, qcow2: qcow2?.size }[format];
    return {
      path,
      format,
      diskBytes: format === "vhd" ? fixedVhdSize(path, fd, fileBytes) : size,
      allocatedBytes: stat.blocks * SECTOR_BYTES,
      qcow2,
    };
  } finally {
    closeSync(fd);
  }
}
