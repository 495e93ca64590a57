import { DiskImageError } from "../image-error.ts";
import { SECTOR_BYTES } from "../topology.ts";
import {
  type Extent,
  FileParameter,
  guidAt,
  Item,
  MAX_BLOCK_BYTES,
  MAX_DISK_BYTES,
  MAX_ENTRIES,
  MAX_ITEM_BYTES,
  MAX_USER_ITEMS,
  METADATA_SIGNATURE,
  MetadataEntry,
  MetadataFlag,
  MetadataTable,
  MIN_BLOCK_BYTES,
} from "./layout.ts";
import type { MetadataSource } from "./metadata-source.ts";

/** What the metadata of a file says of its disk, sizes in bytes. */
export interface VhdxParameters {
  readonly blockBytes: number;
  /** All blocks have their space, and keep it: a fixed VHDX. */
  readonly isFixed: boolean;
  readonly diskBytes: number;
  readonly logicalSector: number;
  readonly physicalSector: number;
}

const LARGE_SECTOR_BYTES = 4096;
const KNOWN: readonly string[] = Object.values(Item);

/**
 * Reads the metadata of a file that has no parent.
 * @param path the image, for messages
 * @throws DiskImageError saying what is wrong or not supported
 */
export function readParameters(path: string, source: MetadataSource, region: Extent): VhdxParameters {
  const items = itemsOf(path, source, region);
  const item = (id: string, name: string, bytes: number): Buffer => {
    const extent = items.get(id);
    if (extent === undefined) throw new DiskImageError(path, `is damaged: it does not tell its ${name}`);
    if (extent.length !== bytes)
      throw new DiskImageError(path, `is damaged: its ${name} takes ${extent.length} bytes instead of ${bytes}`);
    return source.read(region.offset + extent.offset, bytes);
  };
  const parameters = item(Item.FILE_PARAMETERS, "block size", 8);
  const blockBytes = parameters.readUInt32LE(0);
  const flags = parameters.readUInt32LE(4);
  if ((flags & FileParameter.HAS_PARENT) !== 0 || items.has(Item.PARENT_LOCATOR))
    throw new DiskImageError(
      path,
      "is a differencing VHDX, which is not supported: merge it with its parent, or convert both to qcow2",
    );
  if (blockBytes < MIN_BLOCK_BYTES || blockBytes > MAX_BLOCK_BYTES || !isPowerOfTwo(blockBytes))
    throw new DiskImageError(path, `is damaged: it has blocks of ${blockBytes} bytes`);
  item(Item.VIRTUAL_DISK_ID, "disk identifier", 16);
  const logicalSector = sectorSize(path, "logical", item(Item.LOGICAL_SECTOR_SIZE, "logical sector size", 4));
  const physicalSector = sectorSize(path, "physical", item(Item.PHYSICAL_SECTOR_SIZE, "physical sector size", 4));
  const diskBytes = Number(item(Item.VIRTUAL_DISK_SIZE, "size", 8).readBigUInt64LE());
  if (diskBytes === 0 || diskBytes > MAX_DISK_BYTES || diskBytes % logicalSector !== 0)
    throw new DiskImageError(path, `is a disk of ${diskBytes} bytes, which cannot be: it is damaged`);
  const isFixed = (flags & FileParameter.LEAVE_BLOCK_ALLOCATED) !== 0;
  return { blockBytes, isFixed, diskBytes, logicalSector, physicalSector };
}

const isPowerOfTwo = (value: number): boolean => (value & (value - 1)) === 0;

function sectorSize(path: string, which: string, item: Buffer): number {
  const bytes = item.readUInt32LE();
  if (bytes !== SECTOR_BYTES && bytes !== LARGE_SECTOR_BYTES)
    throw new DiskImageError(path, `is damaged: it has ${which} sectors of ${bytes} bytes`);
  return bytes;
}

/** Where the items of the system lie, from the region's start (2.6.1). */
function itemsOf(path: string, source: MetadataSource, region: Extent): Map<string, Extent> {
  if (region.length < MetadataTable.BYTES) throw new DiskImageError(path, "is damaged: its metadata region is empty");
  const table = source.read(region.offset, MetadataTable.BYTES);
  const count = table.readUInt16LE(MetadataTable.ENTRY_COUNT);
  if (table.toString("latin1", 0, METADATA_SIGNATURE.length) !== METADATA_SIGNATURE || count > MAX_ENTRIES)
    throw new DiskImageError(path, "is damaged: it has no metadata table");
  const seen = new Set<string>();
  const items = new Map<string, Extent>();
  const extents: Extent[] = [];
  for (let i = 0; i < count; i++) {
    const at = MetadataTable.ENTRIES + i * MetadataEntry.BYTES;
    const id = guidAt(table, at + MetadataEntry.ITEM_ID);
    const offset = table.readUInt32LE(at + MetadataEntry.OFFSET);
    const length = table.readUInt32LE(at + MetadataEntry.LENGTH);
    const flags = table.readUInt32LE(at + MetadataEntry.FLAGS);
    const isUser = (flags & MetadataFlag.IS_USER) !== 0;
    const isEmpty = length === 0 && offset === 0;
    const fits = length > 0 && offset >= MetadataTable.BYTES && offset + length <= region.length;
    if (length > MAX_ITEM_BYTES || (!isEmpty && !fits))
      throw new DiskImageError(path, `is damaged: its metadata item ${id} has ${length} bytes at offset ${offset}`);
    if (seen.has(`${id} ${isUser}`)) throw new DiskImageError(path, `is damaged: it has the metadata item ${id} twice`);
    seen.add(`${id} ${isUser}`);
    if ((flags & MetadataFlag.IS_REQUIRED) !== 0 && (isUser || !KNOWN.includes(id)))
      throw new DiskImageError(
        path,
        `needs the metadata item ${id}, which is not known: convert it with qemu-img convert`,
      );
    if (!isEmpty) extents.push({ offset, length });
    if (!isUser) items.set(id, { offset, length });
  }
  if (seen.size - items.size > MAX_USER_ITEMS)
    throw new DiskImageError(path, `is damaged: it has ${seen.size - items.size} metadata items of users`);
  let end = 0;
  for (const { offset, length } of extents.sort((a, b) => a.offset - b.offset)) {
    if (offset < end) throw new DiskImageError(path, `is damaged: its metadata items overlap at offset ${offset}`);
    end = offset + length;
  }
  return items;
}
