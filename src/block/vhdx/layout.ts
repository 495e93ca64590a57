/** Places and values of [MS-VHDX]. All numbers in a file are little-endian. */

export const MIB = 1 << 20;
/** Unit of the log, of headers and of reads and writes of the block allocation table. */
export const SECTOR = 4096;

/** What every file starts with (2.2): nothing else lies in its first MiB. */
export const HEADER_SECTION_BYTES = MIB;
/** The two headers (2.2.2). */
export const HEADER_OFFSETS = [64 << 10, 128 << 10] as const;
export const HEADER_BYTES = SECTOR;
/** The two copies of the region table (2.2.3). */
export const REGION_TABLE_OFFSETS = [192 << 10, 256 << 10] as const;
export const REGION_TABLE_BYTES = 64 << 10;
/** What the header section has contents in: the rest of it is reserved. */
export const HEADERS_BYTES = REGION_TABLE_OFFSETS[1] + REGION_TABLE_BYTES;

export const HEADER_SIGNATURE = "head";
/** Where the fields of a header lie (2.2.2). */
export const Header = {
  CHECKSUM: 4,
  SEQUENCE_NUMBER: 8,
  FILE_WRITE_GUID: 16,
  DATA_WRITE_GUID: 32,
  LOG_GUID: 48,
  LOG_VERSION: 64,
  VERSION: 66,
  LOG_LENGTH: 68,
  LOG_OFFSET: 72,
} as const;
export const VERSION = 1;
export const GUID_BYTES = 16;
export const NO_GUID = "00000000-0000-0000-0000-000000000000";

export const REGION_TABLE_SIGNATURE = "regi";
/** Region table header (2.2.3.1) and the fields of an entry (2.2.3.2). */
export const RegionTable = { ENTRY_COUNT: 8, ENTRIES: 16 } as const;
export const RegionEntry = { GUID: 0, FILE_OFFSET: 16, LENGTH: 24, REQUIRED: 28, BYTES: 32 } as const;
export const MAX_ENTRIES = 2047;
/** Known regions. */
export const Region = {
  BAT: "2dc27766-f623-4200-9d64-115e9bfd4a08",
  METADATA: "8b7ca206-4790-4b9a-b8fe-575f050f886e",
} as const;

export const METADATA_SIGNATURE = "metadata";
/** Metadata table header (2.6.1.1) and the fields of an entry (2.6.1.2). */
export const MetadataTable = { ENTRY_COUNT: 10, ENTRIES: 32, BYTES: 64 << 10 } as const;
export const MetadataEntry = { ITEM_ID: 0, OFFSET: 16, LENGTH: 20, FLAGS: 24, BYTES: 32 } as const;
export const MetadataFlag = { IS_USER: 1, IS_REQUIRED: 4 } as const;
export const MAX_ITEM_BYTES = MIB;
export const MAX_USER_ITEMS = 1024;
/** Known metadata items (2.6.2). */
export const Item = {
  FILE_PARAMETERS: "caa16737-fa36-4d43-b3b6-33f0aa44e76b",
  VIRTUAL_DISK_SIZE: "2fa54224-cd1b-4876-b211-5dbed83bf4b8",
  VIRTUAL_DISK_ID: "beca12ab-b2e6-4523-93ef-c309e000c746",
  LOGICAL_SECTOR_SIZE: "8141bf1d-a96f-4709-ba47-f233a8faab5f",
  PHYSICAL_SECTOR_SIZE: "cda348c7-445d-4471-9cc9-e9885251c556",
  PARENT_LOCATOR: "a8d35f2d-b30b-454d-abf7-d3d84834ab0c",
} as const;
/** Flags of the file parameters (2.6.2.1). */
export const FileParameter = { LEAVE_BLOCK_ALLOCATED: 1, HAS_PARENT: 2 } as const;
export const MIN_BLOCK_BYTES = MIB;
export const MAX_BLOCK_BYTES = 256 * MIB;
export const MAX_DISK_BYTES = 64 * 2 ** 40;
/** No file that is in order is larger: its blocks are at most those of the largest disk. */
export const MAX_FILE_BYTES = 2 * MAX_DISK_BYTES;
/** Logical sectors that one sector bitmap block describes (2.4). */
const SECTORS_OF_BITMAP = 2 ** 23;

/** States of payload blocks (2.5.1.1). */
export const BlockState = {
  NOT_PRESENT: 0,
  UNDEFINED: 1,
  ZERO: 2,
  UNMAPPED: 3,
  FULLY_PRESENT: 6,
  PARTIALLY_PRESENT: 7,
} as const;
export const ENTRY_BYTES = 8;
export const ENTRIES_OF_SECTOR = SECTOR / ENTRY_BYTES;
const STATE_MASK = 0x7;
const RESERVED_MASK = 0xf_fff8;
const OFFSET_LOW_MASK = 0xfff0_0000;
const HIGH = 0x1_0000_0000;

/** State of a table entry (2.5.1). @param low its low half */
export const entryState = (low: number): number => low & STATE_MASK;
/** Whether bits are set in a table entry that must be zero. */
export const hasReservedBits = (low: number): boolean => (low & RESERVED_MASK) !== 0;
/** Bytes from the file's start that a table entry names. May be beyond what a number holds exactly. */
export const entryOffset = (high: number, low: number): number => high * HIGH + ((low & OFFSET_LOW_MASK) >>> 0);

export const LOG_ENTRY_SIGNATURE = "loge";
/** Fields of a log entry's header (2.3.1.1). */
export const LogEntryField = {
  CHECKSUM: 4,
  ENTRY_LENGTH: 8,
  TAIL: 12,
  SEQUENCE_NUMBER: 16,
  DESCRIPTOR_COUNT: 24,
  LOG_GUID: 32,
  FLUSHED_FILE_OFFSET: 48,
  LAST_FILE_OFFSET: 56,
  BYTES: 64,
} as const;
export const ZERO_SIGNATURE = "zero";
export const DATA_DESCRIPTOR_SIGNATURE = "desc";
/** Fields of a descriptor: of zeroes (2.3.1.2) or of data (2.3.1.3). */
export const Descriptor = {
  TRAILING_BYTES: 4,
  ZERO_LENGTH: 8,
  LEADING_BYTES: 8,
  FILE_OFFSET: 16,
  SEQUENCE_NUMBER: 24,
  BYTES: 32,
} as const;
export const DATA_SECTOR_SIGNATURE = "data";
/** Fields of a data sector (2.3.1.4): what they hide of the data is in its descriptor. */
export const DataSector = { SEQUENCE_HIGH: 4, DATA: 8, SEQUENCE_LOW: 4092 } as const;

/** A part of a file, in bytes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** Where the blocks of a disk are found. */
export interface BlockGeometry {
  /** Bytes of the disk. */
  readonly diskBytes: number;
  readonly blockBytes: number;
  /** Payload blocks of which the table has the entries in front of one of a sector bitmap (2.4). */
  readonly chunkRatio: number;
  /** Payload blocks. */
  readonly blocks: number;
  /** Entries of the block allocation table, those of sector bitmaps included (2.5). */
  readonly entries: number;
}

/** @param logicalSector bytes */
export function blockGeometry(diskBytes: number, blockBytes: number, logicalSector: number): BlockGeometry {
  const chunkRatio = (SECTORS_OF_BITMAP * logicalSector) / blockBytes;
  const blocks = Math.ceil(diskBytes / blockBytes);
  return { diskBytes, blockBytes, chunkRatio, blocks, entries: blocks + Math.floor((blocks - 1) / chunkRatio) };
}

/** The place of a payload block's entry in the table. */
export const entryOfBlock = (block: number, chunkRatio: number): number => block + Math.floor(block / chunkRatio);

/** A GUID of a file as text: its first three fields are little-endian numbers. */
export function guidAt(bytes: Buffer, at: number): string {
  const field = (from: number, length: number): string => bytes.toString("hex", at + from, at + from + length);
  const swapped = Buffer.from(bytes.subarray(at, at + 8));
  swapped.subarray(0, 4).swap32();
  swapped.subarray(4, 8).swap16();
  const head = swapped.toString("hex");
  return `${head.slice(0, 8)}-${head.slice(8, 12)}-${head.slice(12)}-${field(8, 2)}-${field(10, 6)}`;
}

export const alignUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;
