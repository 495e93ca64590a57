import type { BlockRef } from "../../threads/block-ref.ts";
import { imageFileOf, type OpenImageFile } from "../direct-image-file.ts";
import type { ImageFile } from "../image-file.ts";
import type { DiskTopology } from "../topology.ts";
import { type VhdxLayout, VhdxMetadata } from "./metadata.ts";
import { type VhdxCapacity, VhdxShared } from "./shared.ts";

/** An opened VHDX image: plain data, so that every thread that serves the disk can be given it. */
export interface VhdxImage extends OpenImageFile {
  readonly kind: "vhdx";
  readonly readonly: boolean;
  /** Bytes of the disk, a multiple of 512. */
  readonly size: number;
  readonly topology: DiskTopology;
  readonly canBeSparse: boolean;
  /** Whether the space of blocks may be given back. */
  readonly punch: boolean;
  readonly layout: VhdxLayout;
  readonly capacity: VhdxCapacity;
  readonly shared: BlockRef;
}

/** One thread's view of an opened image. */
export interface VhdxView {
  readonly shared: VhdxShared;
  readonly metadata: VhdxMetadata;
}

/** @param file the image's file; tests give another */
export function viewOf(image: VhdxImage, file: ImageFile = imageFileOf(image)): VhdxView {
  const shared = new VhdxShared(image.shared, image.capacity);
  return { shared, metadata: new VhdxMetadata(shared, file, image.layout) };
}
