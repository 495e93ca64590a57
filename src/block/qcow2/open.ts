import { type BigIntStats, closeSync, constants, fstatSync, readSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { scratch } from "../../host/scratch.ts";
import { logger } from "../../threads/log.ts";
import { imageFileOf, type OpenImageFile } from "../direct-image-file.ts";
import type { ImageOpenOptions } from "../disk-image.ts";
import { DiskImageError } from "../image-error.ts";
import { type ImageFile, ImageIoError, PosixImageFile } from "../image-file.ts";
import { detectFormat, type ImageFormat } from "../image-format.ts";
import { lockImage } from "../image-lock.ts";
import { openImageFile } from "../open-file.ts";
import { blockDeviceTopology, directAlignment, fileTopology, SECTOR_BYTES } from "../topology.ts";
import { parseHeader, type Qcow2Header } from "./header.ts";
import { isHeaderCounted } from "./header-refcount.ts";
import { type BackingImage, dataFileOf, metadataOf, needsPlaced, type Qcow2Image, type Qcow2Parts } from "./image.ts";
import { Autoclear, ENTRY_BYTES, Header, MAX_CLUSTER_BITS, SUBCLUSTERS } from "./layout.ts";
import { placedCode } from "./placed-code.ts";
import { qcow2RepairCode } from "./repair-code.ts";
import { capacityOf, Qcow2Shared, Word } from "./shared.ts";

const log = logger("qcow2");

/** Images below an image, at most. */
export const MAX_BACKING_DEPTH = 10;

/** Opens the qcow2 image in a file. @throws DiskImageError saying what to do */
export function openQcow2(options: ImageOpenOptions): Qcow2Image {
  const { path, readonly, queues, resources, warnings } = options;
  const { header, fileSize } = orderly(options, readHeader(path, options.file.cachedFd, options.fileSize));
  if (needsPlaced(header)) placedCode.for(path);
  const file = usableFile(path, options.file, header, warnings);
  if (header.size === 0 || header.size % SECTOR_BYTES !== 0)
    throw new DiskImageError(path, `is a disk of ${header.size} bytes, no multiple of ${SECTOR_BYTES}`);
  const above = new Set([identityOf(options.identity)]);
  const data = openDataFile(options, path, header, above, true);
  const backing = openBacking(options, path, header, above, 1);
  const image: Qcow2Image = {
    kind: "qcow2",
    ...loadParts(path, file, header, fileSize, queues, { backing, data }, resources),
    readonly,
    size: header.size,
    topology: fileTopology(Math.max(file.alignment, data?.alignment ?? 1, SECTOR_BYTES)),
    canBeSparse: !readonly,
    punch: !readonly && options.sparse,
  };
  if (!readonly) {
    if (header.hasAutoclearBits) clearAutoclearBits(path, header, new PosixImageFile(file.cachedFd));
    resources.defer(() => writeBack(image, path));
  }
  if (header.isCorrupt) warnings.push(`${path} is marked as corrupt: what is read from it may be wrong`);
  return image;
}

/**
 * The file as it is used. What is written with O_DIRECT shares no aligned range with anything else, so that clusters,
 * or what is allocated of them, must be aligned.
 */
function usableFile<T extends OpenImageFile>(path: string, file: T, header: Qcow2Header, warnings: string[]): T {
  const clusterBytes = 2 ** header.clusterBits;
  const parts = header.entryBytes === ENTRY_BYTES ? 1 : SUBCLUSTERS;
  if (file.fd === file.cachedFd || (clusterBytes / parts) % file.alignment === 0) return file;
  warnings.push(
    `${path} has ${parts === 1 ? "" : "sub"}clusters of ${clusterBytes / parts} bytes, too small for direct=on: ` +
      "it goes through the host's page cache; convert it to clusters of 64 KiB without subclusters",
  );
  return { ...file, fd: file.cachedFd, alignment: 1 };
}

/** Brings an image into a state in which it can be used. @returns its header and size then */
function orderly(
  { path, readonly, file, fileSize, warnings }: ImageOpenOptions,
  header: Qcow2Header,
): { readonly header: Qcow2Header; readonly fileSize: number } {
  if (readonly) return { header, fileSize };
  if (file.isDevice)
    throw new DiskImageError(path, "is a qcow2 image on a block device, which can only be read: use readonly=on");
  if (header.isCorrupt)
    throw new DiskImageError(
      path,
      "is marked as corrupt: repair it with cloud-hypervisor disk check --repair all, or use readonly=on",
    );
  const fd = file.cachedFd;
  if (!header.isDirty && isHeaderCounted(fd, header.refcountTableOffset, header.refcountOrder))
    return { header, fileSize };
  try {
    qcow2RepairCode.for(path).restoreQcow2({ path, fd, fileSize, header, file: new PosixImageFile(fd) });
  } catch (cause) {
    if (!(cause instanceof ImageIoError)) throw cause;
    throw new DiskImageError(path, "was left without all of its refcounts and cannot be put in order", { cause });
  }
  warnings.push(`${path} was left without all of its refcounts: they have been made anew`);
  const size = fstatSync(fd).size;
  return { header: readHeader(path, fd, size), fileSize: size };
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
  { fd, cachedFd, alignment }: OpenImageFile,
  header: Qcow2Header,
  fileSize: number,
  queues: number,
  others: Pick<Qcow2Parts, "backing" | "data">,
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
  const source = new PosixImageFile(cachedFd);
  try {
    if (header.l1Entries > 0) source.read(header.l1Offset, l1.address, header.l1Entries * ENTRY_BYTES);
    source.read(header.refcountTableOffset, refcountTable.address, header.refcountTableClusters * clusterBytes);
  } catch (cause) {
    throw new DiskImageError(path, "cannot be read", { cause });
  }
  return { fd, cachedFd, alignment, header, capacity, shared, ...others };
}

/** Opens what an image is made of differences to. */
function openBacking(
  options: ImageOpenOptions,
  path: string,
  { backing }: Qcow2Header,
  above: Set<string>,
  depth: number,
): BackingImage | undefined {
  if (backing === undefined) return undefined;
  if (!options.backingFiles)
    throw new DiskImageError(path, `needs the backing file '${backing.name}': allow it with backing_files=on`);
  if (depth > MAX_BACKING_DEPTH)
    throw new DiskImageError(
      path,
      `has more than ${MAX_BACKING_DEPTH} images below it: merge some with qemu-img commit`,
    );
  if (backing.name.startsWith("json:") || backing.name.includes("\0"))
    throw new DiskImageError(path, "has a backing file that is no file name: convert it with qemu-img rebase");
  const below = namedPath(path, backing.name);
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
      const data = openDataFile(options, below, header, above, false);
      const next = openBacking(options, below, header, above, depth + 1);
      const file = { fd, cachedFd: fd, alignment: 1 };
      return {
        kind: "qcow2",
        ...loadParts(below, file, header, fileSize, options.queues, { backing: next, data }, options.resources),
      };
    }
    default:
      throw new DiskImageError(below, `is a ${format} image, which cannot be a backing file`);
  }
}

function backingFormat(path: string, format: string | undefined): ImageFormat | undefined {
  if (format === undefined || format === "raw" || format === "qcow2") return format;
  throw new DiskImageError(path, "has a backing file of a format that is neither raw nor qcow2");
}

/** The path that an image gives another file by its name. */
export const namedPath = (path: string, name: string): string => resolve(dirname(path), name.replace(/^file:/, ""));

/** Opens what holds the data of an image. That of an image which is written to is locked as the image itself. */
function openDataFile(
  options: ImageOpenOptions,
  path: string,
  header: Qcow2Header,
  above: Set<string>,
  isTop: boolean,
): OpenImageFile | undefined {
  if (header.dataFile === undefined) return undefined;
  const { name } = header.dataFile;
  if (!options.backingFiles)
    throw new DiskImageError(path, `keeps its data in the file '${name}': allow it with backing_files=on`);
  if (name.startsWith("json:"))
    throw new DiskImageError(path, "keeps its data in what is no file name: convert it with qemu-img");
  const dataPath = namedPath(path, name);
  const readonly = options.readonly || !isTop;
  const cachedFd = options.resources.adopt(openImageFile(dataPath, readonly, 0), closeSync);
  const stat = fstatSync(cachedFd, { bigint: true });
  const identity = identityOf(stat);
  if (above.has(identity))
    throw new DiskImageError(dataPath, `is named as the data file of ${path}, and is part of the same disk otherwise`);
  above.add(identity);
  if (!isTop) return { fd: cachedFd, cachedFd, alignment: 1 };
  if (stat.isBlockDevice() && !readonly)
    throw new DiskImageError(dataPath, "is a block device as a data file, which can only be read: use readonly=on");
  const length = Math.max(Number(stat.size), header.size);
  lockImage(dataPath, cachedFd, readonly, options.lock === "full" ? 0 : length);
  if (!options.direct) return { fd: cachedFd, cachedFd, alignment: 1 };
  const fd = options.resources.adopt(openImageFile(dataPath, readonly, constants.O_DIRECT, stat), closeSync);
  const alignment = stat.isBlockDevice() ? blockDeviceTopology(fd).logicalBlock : directAlignment(fd);
  return usableFile(dataPath, { fd, cachedFd, alignment }, header, options.warnings);
}

const identityOf = ({ dev, ino }: BigIntStats): string => `${dev}:${ino}`;

/** Features that a program which does not know them must take back before it changes anything. */
function clearAutoclearBits(path: string, { dataFile }: Qcow2Header, file: ImageFile): void {
  const { address, u8 } = scratch();
  u8.fill(0, 0, 8);
  if (dataFile?.isRaw === true) u8[7] = 1 << Autoclear.RAW_DATA;
  try {
    file.write(Header.AUTOCLEAR, address, 8);
    file.sync();
  } catch (cause) {
    throw new DiskImageError(path, "cannot be written", { cause });
  }
}

/** Leaves the file as a program would that never had more than it in memory. */
function writeBack(image: Qcow2Image, path: string): void {
  const file = imageFileOf(image);
  const { shared, metadata } = metadataOf(image, file, dataFileOf(image, file));
  if (shared.words[Word.BROKEN] !== 0) return;
  try {
    // The first gives clusters up, the second lowers their refcounts.
    for (let round = 0; round < 2 && metadata.isDirty; round++) {
      metadata.writeBack();
      metadata.givenUp.reclaim(image.punch);
    }
  } catch (error) {
    if (!(error instanceof ImageIoError)) throw error;
    log.error(`what was not flushed of ${path} is lost: ${error.message}`);
  }
}
