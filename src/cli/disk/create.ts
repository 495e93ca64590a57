import { fsyncSync, ftruncateSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { imageInfo } from "../../block/image-info.ts";
import { prepareImage } from "../../block/prepare-image.ts";
import { DEFAULT_CLUSTER_BYTES, Qcow2Writer } from "../../block/qcow2/writer.ts";
import { preallocate } from "../../block/sparse.ts";
import { SysError } from "../../host/errno.ts";
import { AllocateFlag } from "../../host/fallocate.ts";
import { check, libc } from "../../host/libc.ts";
import { NewFile } from "../../host/new-file.ts";
import type { PREALLOCATIONS } from "./commands.ts";
import { attempt, ConversionError } from "./convert.ts";

/** An image that is to be made. Sizes in bytes. */
export interface Creation {
  readonly target: string;
  readonly format: "raw" | "qcow2";
  /** Undefined: that of the backing file. */
  readonly size: number | undefined;
  readonly clusterBytes: number | undefined;
  /** The name as the image is to have it: relative to its folder, or absolute. */
  readonly backing: { readonly name: string; readonly format: "raw" | "qcow2" } | undefined;
  /** `metadata`: every cluster has its place; `falloc`: and the file its space. */
  readonly preallocation: (typeof PREALLOCATIONS)[number];
}

/** Makes an empty image, or one of differences to another. Nothing is written over. @throws ConversionError, DiskImageError */
export async function createImage(creation: Creation): Promise<void> {
  const { target, format, backing, clusterBytes, preallocation } = creation;
  if (format === "raw" && (backing !== undefined || clusterBytes !== undefined || preallocation === "metadata"))
    throw new ConversionError("a raw image has no backing file, clusters or metadata: use --format qcow2");
  if (backing !== undefined && preallocation !== "off")
    throw new ConversionError("space that is allocated in advance would hide the backing file: leave out one of both");
  const belowSize = backing && (await backingSize(target, backing));
  const size = creation.size ?? belowSize;
  if (size === undefined) throw new ConversionError("give a size: there is no backing file that is known to have one");
  if (size <= 0 || size % 512 !== 0) throw new ConversionError(`a disk of ${size} bytes: give a multiple of 512`);
  using file = attempt(`${target} cannot be written`, () => new NewFile(target));
  attempt(`${target} cannot be made`, () => {
    if (format === "raw") {
      ftruncateSync(file.fd, size);
      const error = preallocation === "falloc" ? preallocate(file.fd, size) : 0;
      if (error !== 0) throw new SysError(error, `allocate ${size} bytes`);
    } else {
      const writer = new Qcow2Writer(file.fd, { size, clusterBytes: clusterBytes ?? DEFAULT_CLUSTER_BYTES, backing });
      if (preallocation !== "off") {
        const { offset, length } = writer.allocateAll();
        if (preallocation === "falloc")
          check(libc.fallocate(file.fd, AllocateFlag.KEEP_SIZE, offset, length), `allocate ${length} bytes`);
      }
      writer.finish();
    }
    fsyncSync(file.fd);
  });
  attempt(`${target} cannot be created: choose another name, or remove what is there`, () => file.publish());
}

/** @returns bytes of the disk that the new image is to be based on; undefined where its format is not sure */
async function backingSize(
  target: string,
  { name, format }: NonNullable<Creation["backing"]>,
): Promise<number | undefined> {
  const path = resolve(dirname(target), name);
  await prepareImage(path);
  const { format: found, diskBytes } = imageInfo(path);
  // What a guest wrote to a raw disk may look like an image.
  if (found !== format && format !== "raw")
    throw new ConversionError(`${path} is a ${found} image, not ${format}: correct --backing-format`);
  return found === format && diskBytes !== undefined ? Math.ceil(diskBytes / 512) * 512 : undefined;
}
