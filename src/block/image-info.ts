import { closeSync, fstatSync } from "node:fs";
import { DiskImageError } from "./image-error.ts";
import { detectFormat, type ImageFormat } from "./image-format.ts";
import { openImageFile } from "./open-file.ts";
import type { Qcow2Header } from "./qcow2/header.ts";
import { readHeader } from "./qcow2/open.ts";
import { blockDeviceSize, SECTOR_BYTES } from "./topology.ts";
import { fixedVhdSize } from "./vhd-footer.ts";
import { vhdxCode } from "./vhdx/code.ts";
import type { VhdxParameters } from "./vhdx/metadata-table.ts";

/** What an image says of itself. */
export interface ImageInfo {
  readonly path: string;
  readonly format: ImageFormat;
  /** Bytes of the disk; undefined where the format is only known by name. */
  readonly diskBytes: number | undefined;
  /** Bytes that the file takes on the host. */
  readonly allocatedBytes: number;
  readonly qcow2: Qcow2Header | undefined;
  readonly vhdx: VhdxParameters | undefined;
}

/**
 * Looks at an image, for which `prepareImage` comes first, without locking it, so also at that of a running VM, and without opening what it is based on.
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
    const vhdx = format === "vhdx" ? vhdxCode.for(path).readVhdxParameters(path, fd, fileBytes) : undefined;
    const diskBytes = (): number | undefined => {
      switch (format) {
        case "raw":
          return fileBytes;
        case "vhd":
          return fixedVhdSize(path, fd, fileBytes);
        default:
          return qcow2?.size ?? vhdx?.diskBytes;
      }
    };
    return {
      path,
      format,
      diskBytes: diskBytes(),
      allocatedBytes: stat.blocks * SECTOR_BYTES,
      qcow2,
      vhdx,
    };
  } finally {
    closeSync(fd);
  }
}
