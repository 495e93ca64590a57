import { type BigIntStats, closeSync, fstatSync, readSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { scratch } from "../../host/scratch.ts";
import { logger } from "../../threads/log.ts";
import type { ImageOpenOptions } from "../disk-image.ts";
import { DiskImageError } from "../image-error.ts";
import { detectFormat, type ImageFormat } from "../image-format.ts";
import { openImageFile } from "../open-file.ts";
import { fileTopology, SECTOR_BYTES } from "../topology.ts";
import { parseHeader, type Qcow2Header } from "./header.ts";
import { type BackingImage, type Qcow2Image, type Qcow2Parts, viewOf } from "./image.ts";
import { type ImageFile, ImageIoError, PosixImageFile } from "./image-file.ts";
import { ENTRY_BYTES, Header, MAX_CLUSTER_BITS } from "./layout.ts";
import { capacityOf, Qcow2Shared, Word } from "./shared.ts";

const log = logger("qcow2");

/** Images below an image, at most. */
export const MAX_BACKING_DEPTH = 10;

/** Opens the qcow2 image in a file. @throws DiskImageError saying what to do */
export function openQcow2(options: ImageOpenOptions): Qcow2Image {
  const { path, readonly, file, fileSize, queues, resources, warnings } = options;
  const header = readHeader(path, file.cachedFd, fileSize);
  if (header.size === 0 || header.size % SECTOR_BYTES !== 0)
    throw new DiskImageError(path, `is a disk of ${header.size} bytes, no multiple of ${SECTOR_BYTES}`);
  checkState(options, header);
  if (file.isDevice && !readonly)
    throw new DiskImageError(path, "is a qcow2 image on a block device, which can only be read: use readonly=on");
  const above = new Set([identityOf(options.identity)]);
  const backing = openBacking(options, path, header, above);
  const image: Qcow2Image = {
    kind: "qcow2",
    ...loadParts(path, file, header, fileSize, queues, backing, resources),
    alignment: file.alignment,
    readonly,
    size: header.size,
    topology: fileTopology(SECTOR_BYTES),
    canBeSparse: !readonly,
    punch: !readonly && options.sparse,
  };
  if (!readonly) {
    if (header.hasAutoclearBits) clearAutoclearBits(path, new PosixImageFile(file.cachedFd));
    resources.defer(() => writeBack(image, path));
  }
  if (header.isCorrupt) warnings.push(`${path} is marked as corrupt: what is read from it may be wrong`);
  return image;
}

/** Whether an image can be used as it was left. */
function checkState({ path, readonly }: ImageOpenOptions, header: Qcow2Header): void {
  if (readonly) return;
  if (header.isCorrupt)
    throw new DiskImageError(path, "is marked as corrupt: repair it with qemu-img check -r all, or use readonly=on");
  if (header.isDirty)
    throw new DiskImageError(
      path,
      "was not closed properly by what had it open before: repair it with qemu-img check -r all, or use readonly=on",
    );
}

/** Reads the header of the qcow2 image in a file. @throws DiskImageError */
export function readHeader(path: string, fd: number, fileSize: number): Qcow2Header {
  const head = Buffer.alloc(Math.min(2 ** MAX_CLUSTER_BITS, fileSize));
  const size = readSync(fd, head, 0, head.length, 0);
  return parseHeader(path, head.subarray(0, size), fileSize);
}

/** Reads the tables that are always in memory, into memory that all threads share. */
function loadParts(
  path: string,
  file: { readonly fd: number; readonly cachedFd: number },
  header: Qcow2Header,
  fileSize: number,
  queues: number,
  backing: BackingImage | undefined,
  resources: DisposableStack,
): Qcow2Parts {
  const capacity = capacityOf(header, fileSize, queues);
  const shared = resources.adopt(Qcow2Shared.allocate(capacity), Qcow2Shared.free);
  const { words, l1, refcountTable } = new Qcow2Shared(shared, capacity);
  const clusterBytes = 2 ** header.clusterBits;
  words[Word.SIZE] = header.size;
  words[Word.L1_OFFSET] = header.l1Offset;
  words[Word.L1_ENTRIES] = header.l1Entries;
  words[Word.REFCOUNT_TABLE_OFFSET] = header.refcountTableOffset;
  words[Word.REFCOUNT_TABLE_CLUSTERS] = header.refcountTableClusters;
  words[Word.FILE_CLUSTERS] = Math.ceil(fileSize / clusterBytes);
  const source = new PosixImageFile(file.cachedFd);
  try {
    if (header.l1Entries > 0) source.read(header.l1Offset, l1.address, header.l1Entries * ENTRY_BYTES);
    source.read(header.refcountTableOffset, refcountTable.address, header.refcountTableClusters * clusterBytes);
  } catch (cause) {
    throw new DiskImageError(path, "cannot be read", { cause });
  }
  return { fd: file.fd, cachedFd: file.cachedFd, header, capacity, shared, backing };
}

/** Opens what an image is made of differences to. */
function openBacking(
  options: ImageOpenOptions,
  path: string,
  { backing }: Qcow2Header,
  above: Set<string>,
): BackingImage | undefined {
  if (backing === undefined) return undefined;
  if (!options.backingFiles)
    throw new DiskImageError(path, `needs the backing file '${backing.name}': allow it with backing_files=on`);
  if (above.size > MAX_BACKING_DEPTH)
    throw new DiskImageError(
      path,
      `has more than ${MAX_BACKING_DEPTH} images below it: merge some with qemu-img commit`,
    );
  if (backing.name.startsWith("json:") || backing.name.includes("\0"))
    throw new DiskImageError(path, "has a backing file that is no file name: convert it with qemu-img rebase");
  const below = resolve(dirname(path), backing.name.replace(/^file:/, ""));
  const fd = options.resources.adopt(openImageFile(below, true, 0), closeSync);
  const stat = fstatSync(fd, { bigint: true });
  const identity = identityOf(stat);
  if (above.has(identity)) throw new DiskImageError(below, "is below itself as a backing file");
  above.add(identity);
  const fileSize = Number(stat.size);
  const format = backingFormat(path, backing.format) ?? detectFormat(below, fd, fileSize);
  switch (format) {
    case "raw":
      return { kind: "raw", fd, size: fileSize };
    case "qcow2": {
      const header = readHeader(below, fd, fileSize);
      const next = openBacking(options, below, header, above);
      const file = { fd, cachedFd: fd };
      return { kind: "qcow2", ...loadParts(below, file, header, fileSize, options.queues, next, options.resources) };
    }
    default:
      throw new DiskImageError(below, `is a ${format} image, which cannot be a backing file`);
  }
}

function backingFormat(path: string, format: string | undefined): ImageFormat | undefined {
  if (format === undefined || format === "raw" || format === "qcow2") return format;
  throw new DiskImageError(path, "has a backing file of a format that is neither raw nor qcow2");
}

const identityOf = ({ dev, ino }: BigIntStats): string => `${dev}:${ino}`;

/** Features that a program which does not know them must take back before it changes anything. */
function clearAutoclearBits(path: string, file: ImageFile): void {
  const { address, u8 } = scratch();
  u8.fill(0, 0, 8);
  try {
    file.write(Header.AUTOCLEAR, address, 8);
    file.sync();
  } catch (cause) {
    throw new DiskImageError(path, "cannot be written", { cause });
  }
}

/** Leaves the file as a program would that never had more than it in memory. */
function writeBack(image: Qcow2Image, path: string): void {
  const { shared, metadata } = viewOf(image);
  if (shared.words[Word.BROKEN] !== 0) return;
  try {
    // The first gives clusters up, the second lowers their refcounts.
    for (let round = 0; round < 2 && metadata.isDirty; round++) {
      metadata.writeBack();
      metadata.reclaim(image.punch);
    }
  } catch (error) {
    if (!(error instanceof ImageIoError)) throw error;
    log.error(`what was not flushed of ${path} is lost: ${error.message}`);
  }
}
