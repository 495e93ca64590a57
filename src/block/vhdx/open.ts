import { MemoryBlock } from "../../host/memory-block.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { logger } from "../../threads/log.ts";
import type { ImageOpenOptions } from "../disk-image.ts";
import { DiskImageError } from "../image-error.ts";
import { ImageIoError, PosixImageFile } from "../image-file.ts";
import { canBeSparse } from "../sparse.ts";
import { fileTopology, SECTOR_BYTES } from "../topology.ts";
import { type BlockScan, scanBlocks } from "./block-scan.ts";
import { HEADER_PAIR_BYTES, HeaderPair, parseHeader, type VhdxHeader } from "./header.ts";
import { type VhdxImage, viewOf } from "./image.ts";
import {
  type BlockGeometry,
  blockGeometry,
  ENTRIES_OF_SECTOR,
  ENTRY_BYTES,
  type Extent,
  GUID_BYTES,
  HEADER_OFFSETS,
  HEADERS_BYTES,
  MAX_FILE_BYTES,
  SECTOR,
} from "./layout.ts";
import { LogReader, type LogSequence, type LogUpdate } from "./log-reader.ts";
import { MetadataSource } from "./metadata-source.ts";
import { readParameters, type VhdxParameters } from "./metadata-table.ts";
import { parseRegions, type VhdxRegions } from "./region-table.ts";
import { capacityOf, VhdxShared, Word } from "./shared.ts";

const log = logger("vhdx");

/** Changes in a log that an image that is only read keeps in memory, at most: 8 MiB of sectors. */
const MAX_KEPT_UPDATES = 2048;

/** What a file says, with its log taken into account. */
interface Contents {
  readonly header: VhdxHeader;
  readonly source: MetadataSource;
  /** Changes in the log that are not in the file. */
  readonly updates: readonly LogUpdate[];
  readonly regions: VhdxRegions;
  readonly parameters: VhdxParameters;
  /** Bytes of the file, or more where the log tells so. */
  readonly fileSize: number;
}

/** Metadata is read with the log taken into account, data as it is in the file. */
type Reads = "metadata" | "all";

/** Opens the VHDX image in a file. @throws DiskImageError saying what to do */
export function openVhdx(options: ImageOpenOptions): VhdxImage {
  const { path, readonly, file, resources } = options;
  const { cachedFd } = file;
  if (file.isDevice && !readonly)
    throw new DiskImageError(path, "is a VHDX image on a block device, which can only be read: use readonly=on");
  const guids = crypto.getRandomValues(new Uint8Array(3 * GUID_BYTES));
  const fileWriteGuid = guids.subarray(0, GUID_BYTES);
  const replayed = readonly ? undefined : replay(path, cachedFd, options.fileSize, fileWriteGuid);
  const { contents, geometry, scan } = inspect(path, cachedFd, replayed ?? options.fileSize, "all");
  const { header, source, regions, parameters, fileSize } = contents;
  const { diskBytes, isFixed, logicalSector } = parameters;
  const pinned = pinnedSectors(path, contents, geometry.entries);
  const capacity = capacityOf(Math.ceil(geometry.entries / ENTRIES_OF_SECTOR), pinned.length);
  const shared = resources.adopt(VhdxShared.allocate(capacity), VhdxShared.free);
  const image: VhdxImage = {
    kind: "vhdx",
    readonly,
    size: diskBytes,
    fd: file.fd,
    cachedFd,
    alignment: file.alignment,
    topology: fileTopology(Math.max(SECTOR_BYTES, logicalSector, file.alignment)),
    canBeSparse: !readonly,
    punch: !readonly && options.sparse && !isFixed && canBeSparse(cachedFd, fileSize),
    layout: { geometry, log: header.log, tableOffset: regions.bat.offset, keepsPlaces: scan.keepsPlaces },
    capacity,
    shared,
  };
  const { shared: memory, metadata } = viewOf(image);
  memory.words[Word.FILE_END] = scan.fileEnd;
  memory.words[Word.IS_SHORT] = scan.fileEnd > fileSize ? 1 : 0;
  new HeaderPair(new PosixImageFile(cachedFd), memory.headers).load(header);
  memory.fileWriteGuid.set(fileWriteGuid);
  memory.dataWriteGuid.set(guids.subarray(GUID_BYTES, 2 * GUID_BYTES));
  memory.logGuid.set(guids.subarray(2 * GUID_BYTES));
  for (const sector of pinned) metadata.table.pin(sector, source.read(regions.bat.offset + sector * SECTOR, SECTOR));
  if (!readonly) resources.defer(() => end(image, path));
  return image;
}

/** What a VHDX image says of its disk, without opening it for use. @throws DiskImageError */
export function readVhdxParameters(path: string, fd: number, fileSize: number): VhdxParameters {
  return readContents(path, fd, fileSize, "metadata").parameters;
}

/**
 * Checks all metadata of a VHDX image as it is with the log replayed. The file stays as it is.
 * @param fileSize bytes of the file
 * @returns whether it was closed properly: nothing is left in its log
 * @throws DiskImageError saying what is wrong; with a cause where it could not be checked
 */
export function checkVhdx(path: string, fd: number, fileSize: number): boolean {
  return inspect(path, fd, fileSize, "metadata").contents.header.logGuid === undefined;
}

/**
 * Reads all metadata, as it is with the log replayed, and checks it.
 * @param fileSize bytes of the file
 * @param reads what is going to be read while the log is not replayed
 */
function inspect(
  path: string,
  fd: number,
  fileSize: number,
  reads: Reads,
): { readonly contents: Contents; readonly geometry: BlockGeometry; readonly scan: BlockScan } {
  const contents = readContents(path, fd, fileSize, reads);
  const { source, regions, parameters } = contents;
  const geometry = blockGeometry(parameters.diskBytes, parameters.blockBytes, parameters.logicalSector);
  const tableBytes = geometry.entries * ENTRY_BYTES;
  if (tableBytes > regions.bat.length)
    throw new DiskImageError(
      path,
      `is damaged: its block table has ${regions.bat.length} bytes instead of ${tableBytes}`,
    );
  return {
    contents,
    geometry,
    scan: scanBlocks(path, source, regions.bat, geometry, regions.extents, contents.fileSize),
  };
}

function readContents(path: string, fd: number, fileSize: number, reads: Reads): Contents {
  checkLength(path, fileSize);
  const plain = new MetadataSource(path, fd);
  const header = parseHeader(path, plain.read(0, HEADERS_BYTES), fileSize);
  const sequence = sequenceOf(path, fd, header, fileSize);
  const size = Math.max(fileSize, sequence?.lastFileOffset ?? 0);
  const updates = sequence === undefined ? [] : keptUpdates(path, sequence);
  const source = updates.length === 0 ? plain : new MetadataSource(path, fd, updates);
  const regions = parseRegions(path, source.read(0, HEADERS_BYTES), header.log, size);
  for (const update of reads === "all" ? updates : [])
    if (!regions.extents.some((extent) => isInside(update, extent)))
      throw new DiskImageError(path, "was not closed properly, and its log changes data: open it once for writing");
  const parameters = readParameters(path, source, regions.metadata);
  return { header, source, updates, regions, parameters, fileSize: size };
}

function checkLength(path: string, fileSize: number): void {
  const least = HEADER_OFFSETS[1] + SECTOR;
  if (fileSize < least) throw new DiskImageError(path, `has only ${fileSize} bytes: it is cut short, copy it again`);
  if (fileSize > MAX_FILE_BYTES)
    throw new DiskImageError(path, `has ${fileSize} bytes, more than a VHDX image can have`);
}

function sequenceOf(path: string, fd: number, header: VhdxHeader, fileSize: number): LogSequence | undefined {
  const { log: extent, logGuid } = header;
  return logGuid === undefined ? undefined : new LogReader(path, fd, extent, logGuid).activeSequence(fileSize);
}

/** The changes of a log, for as long as the image is open. */
function keptUpdates(path: string, sequence: LogSequence): LogUpdate[] {
  const updates: LogUpdate[] = [];
  for (const update of sequence.updates()) {
    if (updates.length === MAX_KEPT_UPDATES) {
      const cause = new Error(`the log has more than ${MAX_KEPT_UPDATES} changes, which are not kept in memory`);
      throw new DiskImageError(path, "was not closed properly, and its log is large: open it once for writing", {
        cause,
      });
    }
    updates.push(update);
  }
  return updates;
}

const isInside = (part: Extent, whole: Extent): boolean =>
  part.offset >= whole.offset && part.offset + part.length <= whole.offset + whole.length;

/** Sectors of the block table that the log changes. */
function pinnedSectors(path: string, { updates, regions }: Contents, entries: number): number[] {
  const sectors = new Set<number>();
  const end = regions.bat.offset + Math.ceil(entries / ENTRIES_OF_SECTOR) * SECTOR;
  for (const { offset, length } of updates)
    for (let at = Math.max(offset, regions.bat.offset); at < Math.min(offset + length, end); at += SECTOR) {
      sectors.add((at - regions.bat.offset) / SECTOR);
      if (sectors.size > MAX_KEPT_UPDATES)
        throw new DiskImageError(path, "was not closed properly, and its log is large: open it once for writing");
    }
  return [...sectors];
}

/**
 * Brings a file that was not closed properly up to date (2.3.3).
 * @param fileWriteGuid what the headers get before anything is changed
 * @returns bytes of the file, or undefined when there was nothing to do
 * @throws DiskImageError
 */
function replay(path: string, fd: number, fileSize: number, fileWriteGuid: Uint8Array): number | undefined {
  checkLength(path, fileSize);
  const header = parseHeader(path, new MetadataSource(path, fd).read(0, HEADERS_BYTES), fileSize);
  const sequence = sequenceOf(path, fd, header, fileSize);
  if (sequence === undefined) return undefined;
  // What is found to be damaged stays as it is.
  let updates = 0;
  for (const _ of sequence.updates()) updates++;
  if (updates <= MAX_KEPT_UPDATES) inspect(path, fd, fileSize, "metadata");
  const memory = mapAnonymous(HEADER_PAIR_BYTES + SECTOR);
  try {
    return applyLog(fd, header, sequence, fileSize, fileWriteGuid, memory);
  } catch (cause) {
    if (!(cause instanceof ImageIoError)) throw cause;
    throw new DiskImageError(path, "was not closed properly, and cannot be brought up to date", { cause });
  } finally {
    munmap(memory.address, memory.size);
  }
}

function applyLog(
  fd: number,
  header: VhdxHeader,
  sequence: LogSequence,
  fileSize: number,
  fileWriteGuid: Uint8Array,
  memory: MemoryBlock,
): number {
  const file = new PosixImageFile(fd);
  const sector = memory.sub(memory.size - SECTOR, SECTOR);
  const headers = new HeaderPair(file, new MemoryBlock(memory.address, HEADER_PAIR_BYTES));
  headers.load(header);
  headers.update({ FILE_WRITE_GUID: fileWriteGuid });
  let size = fileSize;
  for (const { offset, length, data } of sequence.updates()) {
    if (data === undefined) {
      // Beyond its end the file reads as zeroes anyway.
      if (offset < size) file.zero(offset, Math.min(length, size - offset), true);
    } else {
      sector.u8.set(data);
      file.write(offset, sector.address, length);
      size = Math.max(size, offset + length);
    }
  }
  if (size < sequence.lastFileOffset) {
    sector.u8.fill(0);
    file.write(sequence.lastFileOffset - 1, sector.address, 1);
    size = sequence.lastFileOffset;
  }
  file.sync();
  headers.update({ LOG_GUID: new Uint8Array(GUID_BYTES) });
  return size;
}

/** Leaves the file as one that was closed properly. */
function end(image: VhdxImage, path: string): void {
  const { shared, metadata } = viewOf(image);
  if (shared.words[Word.BROKEN] !== 0) return;
  try {
    metadata.end();
  } catch (error) {
    if (!(error instanceof ImageIoError)) throw error;
    log.error(`what was not flushed of ${path} is lost: ${error.message}`);
  }
}
