import type { BlockRef } from "../../threads/block-ref.ts";
import { imageFileOf, type OpenImageFile } from "../direct-image-file.ts";
import { type ImageFile, PosixImageFile } from "../image-file.ts";
import type { DiskTopology } from "../topology.ts";
import type { Qcow2Header } from "./header.ts";
import { ENTRY_BYTES } from "./layout.ts";
import { Qcow2Metadata } from "./metadata.ts";
import { placedCode } from "./placed-code.ts";
import { type ImageReader, Qcow2Reader, RawReader } from "./reader.ts";
import { type Qcow2Capacity, Qcow2Shared } from "./shared.ts";

/** What lies below an image, opened for reading. */
export type BackingImage =
  | { readonly kind: "raw"; readonly fd: number; readonly size: number }
  | ({ readonly kind: "qcow2" } & Qcow2Parts);

/** An opened qcow2 image but for how the disk is presented. */
export interface Qcow2Parts extends OpenImageFile {
  readonly header: Qcow2Header;
  readonly capacity: Qcow2Capacity;
  readonly shared: BlockRef;
  readonly backing: BackingImage | undefined;
  /** The file that holds the data, where that is not the image's own. */
  readonly data: OpenImageFile | undefined;
}

/** An opened qcow2 image: plain data, so that every thread that serves the disk can be given it. */
export interface Qcow2Image extends Qcow2Parts {
  readonly kind: "qcow2";
  readonly readonly: boolean;
  /** Bytes of the disk when the image was opened, a multiple of 512. */
  readonly size: number;
  readonly topology: DiskTopology;
  readonly canBeSparse: boolean;
  /** Whether the space of clusters that are given up goes back to the file system. */
  readonly punch: boolean;
}

/** Synchronous access to the data of an image. @param file the image's file */
export const dataFileOf = ({ data }: Qcow2Parts, file: ImageFile): ImageFile =>
  data === undefined ? file : imageFileOf(data);

/** One thread's access to an opened image's metadata. @param file the image's file @param data the file of its data */
export function metadataOf(
  parts: Qcow2Parts,
  file: ImageFile,
  data: ImageFile,
): { shared: Qcow2Shared; metadata: Qcow2Metadata } {
  const { header, capacity } = parts;
  const shared = new Qcow2Shared(parts.shared, capacity);
  if (!needsPlaced(header)) return { shared, metadata: new Qcow2Metadata(shared, file, header) };
  const { loaded } = placedCode;
  if (loaded === undefined) throw new TypeError("prepareParts has to be awaited first");
  const outside = header.dataFile === undefined ? undefined : data;
  return { shared, metadata: new loaded.PlacedMetadata(shared, file, header, outside) };
}

/** One thread's view of an opened image. */
export interface Qcow2View {
  readonly shared: Qcow2Shared;
  readonly metadata: Qcow2Metadata;
  readonly reader: Qcow2Reader;
}

/** @param file the image's file, and `data` the one of its data; tests give others */
export function viewOf(
  parts: Qcow2Parts,
  file: ImageFile = imageFileOf(parts),
  data: ImageFile = dataFileOf(parts, file),
): Qcow2View {
  const { backing } = parts;
  const { shared, metadata } = metadataOf(parts, file, data);
  const { size, compression } = parts.header;
  const reader = new Qcow2Reader(shared, metadata, data, {
    size,
    compression,
    backing: backing === undefined ? undefined : readerOf(backing),
  });
  return { shared, metadata, reader };
}

/** Loads what it takes to use an image and those below it, and what few of them need. For each thread that does. */
export async function prepareParts(parts: Qcow2Parts): Promise<void> {
  if (needsPlaced(parts.header)) await placedCode.load();
  if (parts.backing?.kind === "qcow2") await prepareParts(parts.backing);
}

function readerOf(backing: BackingImage): ImageReader {
  if (backing.kind === "qcow2") return viewOf(backing).reader;
  return new RawReader(new PosixImageFile(backing.fd), backing.size);
}

/** Whether clusters of an image have places that not all of their data is at: `PlacedMetadata`. */
export const needsPlaced = ({ entryBytes, dataFile }: Qcow2Header): boolean =>
  entryBytes !== ENTRY_BYTES || dataFile !== undefined;
