import { DiskImageError } from "../../block/image-error.ts";
import { imageInfo } from "../../block/image-info.ts";
import type { Qcow2Header } from "../../block/qcow2/header.ts";
import { MAX_BACKING_DEPTH, namedPath } from "../../block/qcow2/open.ts";

/** A file that an image names, or one below it. */
export interface NamedFile {
  readonly path: string;
  /** Whether it holds the data of the image itself, and is written to where that is. */
  readonly isOwn: boolean;
}

/**
 * The files that an image is made of beside its own, as headers name them now: what is below it, and what holds data. What is
 * wrong with an image is told when it is opened: here the list ends with it.
 */
export function backingFiles(path: string): NamedFile[] {
  const files: NamedFile[] = [];
  let file = path;
  for (let depth = 0; depth <= MAX_BACKING_DEPTH; depth++) {
    const header = headerOf(file);
    if (header?.dataFile !== undefined) files.push({ path: namedPath(file, header.dataFile.name), isOwn: depth === 0 });
    if (header?.backing === undefined) break;
    file = namedPath(file, header.backing.name);
    files.push({ path: file, isOwn: false });
  }
  return files;
}

function headerOf(path: string): Qcow2Header | undefined {
  try {
    return imageInfo(path).qcow2;
  } catch (error) {
    if (error instanceof DiskImageError) return undefined;
    throw error;
  }
}
