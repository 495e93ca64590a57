import { fstatSync } from "node:fs";
import { Errno, SysError } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import type { OpenedImage, RawImage } from "./disk-image.ts";
import { growQcow2 } from "./qcow2/grow.ts";
import { preallocate } from "./sparse.ts";
import { blockDeviceSize, SECTOR_BYTES } from "./topology.ts";

/** A size that an image cannot have. The message says why, and what to do. */
export class ImageSizeError extends Error {
  override readonly name = "ImageSizeError";
}

/**
 * Gives an open image another size. What lies beyond the end of a smaller one is lost; what a larger one gains reads as
 * zeroes. A block device has the size it has: its disk follows when the device was made larger or smaller.
 * @param bytes a multiple of 512 above 0
 * @param sparse whether the image may have holes; otherwise the gained space is allocated
 * @throws ImageSizeError and then nothing has changed
 */
export function resizeImage(image: OpenedImage, bytes: number, sparse: boolean): void {
  if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes % SECTOR_BYTES !== 0)
    throw new ImageSizeError(`${bytes} bytes are no size for a disk: give a multiple of ${SECTOR_BYTES} above 0`);
  if (image.readonly) throw new ImageSizeError("the disk is read-only, and so is its image");
  if (image.kind === "vhdx")
    throw new ImageSizeError(`a VHDX image keeps its size of ${image.size} bytes: convert it to raw or qcow2`);
  if (image.kind === "raw") resizeFile(image, bytes, sparse);
  else
    try {
      growQcow2(image, bytes);
    } catch (cause) {
      throw new ImageSizeError(`the image cannot be made a disk of ${bytes} bytes`, { cause });
    }
}

function resizeFile(image: RawImage, bytes: number, sparse: boolean): void {
  const { cachedFd: fd, isDevice, canBeResized } = image;
  if (!canBeResized)
    throw new ImageSizeError(`a VHD image keeps its size of ${image.size} bytes: convert it to raw or qcow2`);
  if (isDevice) {
    const size = blockDeviceSize(fd);
    if (size === bytes) return;
    throw new ImageSizeError(
      `the image is a block device of ${size ?? "unknown"} bytes: resize the device first, then the disk to its size`,
    );
  }
  const failed = `the image cannot be made ${bytes} bytes long`;
  const error = sparse ? 0 : preallocate(fd, bytes);
  if (error !== 0 && error !== Errno.EOPNOTSUPP) {
    // Gives back what has been allocated beyond the end.
    libc.ftruncate(fd, fstatSync(fd).size);
    throw new ImageSizeError(failed, { cause: new SysError(error, "fallocate") });
  }
  if (libc.ftruncate(fd, bytes) !== 0) throw new ImageSizeError(failed, { cause: new SysError(errno(), "ftruncate") });
}
