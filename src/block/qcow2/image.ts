import type { BlockRef } from "../../threads/block-ref.ts";
import type { DiskTopology } from "../topology.ts";
import type { Qcow2Header } from "./header.ts";
import { type ImageFile, PosixImageFile } from "./image-file.ts";
import { Qcow2Metadata } from "./metadata.ts";
import { type ImageReader, Qcow2Reader, RawReader } from "./reader.ts";
import { type Qcow2Capacity, Qcow2Shared } from "./shared.ts";

/** What lies below an image, opened for reading. */
export type BackingImage =
  | { readonly kind: "raw"; readonly fd: number; readonly size: number }
  | ({ readonly kind: "qcow2" } & Qcow2Parts);

/** An opened qcow2 image but for how the disk is presented. */
export interface Qcow2Parts {
  /** For data; with O_DIRECT where that was asked for. */
  readonly fd: number;
  /** The same file through the host's page cache, for metadata; `fd` itself without O_DIRECT. */
  readonly cachedFd: number;
  readonly header: Qcow2Header;
  readonly capacity: Qcow2Capacity;
  readonly shared: BlockRef;
  readonly backing: BackingImage | undefined;
}

/** An opened qcow2 image: plain data, so that every thread that serves the disk can be given it. */
export interface Qcow2Image extends Qcow2Parts {
  readonly kind: "qcow2";
  readonly readonly: boolean;
  /** Bytes of the disk when the image was opened, a multiple of 512. */
  readonly size: number;
  /** What addresses, offsets and lengths on `fd` must be multiples of; 1 without O_DIRECT. */
  readonly alignment: number;
  readonly topology: DiskTopology;
  readonly canBeSparse: boolean;
  /** Whether the space of clusters that are given up goes back to the file system. */
  readonly punch: boolean;
}

/** One thread's view of an opened image. */
export interface Qcow2View {
  readonly shared: Qcow2Shared;
  readonly metadata: Qcow2Metadata;
  readonly reader: Qcow2Reader;
}

/** @param file the image's file; tests give another */
export function viewOf(parts: Qcow2Parts, file: ImageFile = new PosixImageFile(parts.cachedFd)): Qcow2View {
  const { header, capacity, backing } = parts;
  const shared = new Qcow2Shared(parts.shared, capacity);
  const metadata = new Qcow2Metadata(shared, file, header);
  const { size, compression } = header;
  const reader = new Qcow2Reader(shared, metadata, file, {
    size,
    compression,
    backing: backing === undefined ? undefined : readerOf(backing),
  });
  return { shared, metadata, reader };
}

function readerOf(backing: BackingImage): ImageReader {
  if (backing.kind === "qcow2") return viewOf(backing).reader;
  return new RawReader(new PosixImageFile(backing.fd), backing.size);
}
