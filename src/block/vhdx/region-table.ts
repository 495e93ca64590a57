import { DiskImageError } from "../image-error.ts";
import { checksumOf } from "./crc32c.ts";
import {
  type Extent,
  guidAt,
  HEADER_SECTION_BYTES,
  MAX_ENTRIES,
  MAX_FILE_BYTES,
  MIB,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  REGION_TABLE_SIGNATURE,
  Region,
  RegionEntry,
  RegionTable,
} from "./layout.ts";

/** Where everything but blocks lies in a file. */
export interface VhdxRegions {
  readonly bat: Extent;
  readonly metadata: Extent;
  /** All that has its place, unknown regions, the log and the header section included. */
  readonly extents: readonly Extent[];
}

/**
 * Reads the region table (2.2.3).
 * @param path the image, for messages
 * @param section the first `HEADERS_BYTES` of the file
 * @param fileSize bytes of the file
 * @throws DiskImageError saying what is wrong
 */
export function parseRegions(path: string, section: Buffer, log: Extent, fileSize: number): VhdxRegions {
  const regions = regionsOf(path, wholeTable(path, section));
  const known = (guid: string, name: string): Extent => {
    const region = regions.get(guid);
    if (region === undefined) throw new DiskImageError(path, `is damaged: it has no ${name} region`);
    if (region.offset + region.length > fileSize)
      throw new DiskImageError(path, `has its ${name} region beyond its end: it is cut short, copy it again`);
    return region;
  };
  const extents = [{ offset: 0, length: HEADER_SECTION_BYTES }, log, ...regions.values()];
  checkOverlaps(path, extents);
  return { bat: known(Region.BAT, "block table"), metadata: known(Region.METADATA, "metadata"), extents };
}

/** The copy that counts: both have to be alike, or one of them damaged. */
function wholeTable(path: string, section: Buffer): Buffer {
  const [first = section, second = section] = REGION_TABLE_OFFSETS.map((offset) =>
    section.subarray(offset, offset + REGION_TABLE_BYTES),
  );
  const areAlike = first.equals(second);
  const isFirstWhole = isWhole(first);
  if (!areAlike && isWhole(second)) {
    if (isFirstWhole) throw new DiskImageError(path, "is damaged: the two copies of its region table differ");
    return second;
  }
  if (isFirstWhole) return first;
  throw new DiskImageError(path, "is damaged: neither of the two copies of its region table is whole");
}

const isWhole = (table: Buffer): boolean =>
  table.toString("latin1", 0, REGION_TABLE_SIGNATURE.length) === REGION_TABLE_SIGNATURE &&
  table.readUInt32LE(4) === checksumOf(table);

function regionsOf(path: string, table: Buffer): Map<string, Extent> {
  const regions = new Map<string, Extent>();
  const count = table.readUInt32LE(RegionTable.ENTRY_COUNT);
  if (count > MAX_ENTRIES) throw new DiskImageError(path, `is damaged: it has ${count} regions`);
  for (let i = 0; i < count; i++) {
    const at = RegionTable.ENTRIES + i * RegionEntry.BYTES;
    const guid = guidAt(table, at + RegionEntry.GUID);
    const offset = Number(table.readBigUInt64LE(at + RegionEntry.FILE_OFFSET));
    const length = table.readUInt32LE(at + RegionEntry.LENGTH);
    const isKnown = guid === Region.BAT || guid === Region.METADATA;
    if (!isKnown && (table.readUInt32LE(at + RegionEntry.REQUIRED) & 1) !== 0)
      throw new DiskImageError(path, `needs the region ${guid}, which is not known: convert it with qemu-img convert`);
    if (offset < HEADER_SECTION_BYTES || offset > MAX_FILE_BYTES || offset % MIB !== 0 || length % MIB !== 0)
      throw new DiskImageError(path, `is damaged: its region ${guid} has ${length} bytes at offset ${offset}`);
    if (regions.has(guid)) throw new DiskImageError(path, `is damaged: it has the region ${guid} twice`);
    regions.set(guid, { offset, length });
  }
  return regions;
}

function checkOverlaps(path: string, extents: readonly Extent[]): void {
  let end = 0;
  for (const { offset, length } of extents.filter(({ length }) => length > 0).sort((a, b) => a.offset - b.offset)) {
    if (offset < end) throw new DiskImageError(path, `is damaged: its regions overlap at offset ${offset}`);
    end = offset + length;
  }
}
