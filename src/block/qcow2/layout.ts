/** The on-disk format of qcow2 images (QEMU docs/interop/qcow2.txt). All integers in the file are big-endian. */

export const QCOW2_MAGIC = 0x5146_49fb;

/** Cluster sizes that images may have, as powers of two. */
export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;
/** Bytes of an entry of the L1, L2 and refcount tables. */
export const ENTRY_BYTES = 8;
/** Bytes of an extended L2 entry: one as usual, then a bit for each subcluster that reads as zeroes, and one for each that is allocated. */
export const EXTENDED_ENTRY_BYTES = 16;
/** Of a cluster, with extended L2 entries. */
export const SUBCLUSTERS = 32;
/** The smallest clusters that can have subclusters. */
export const MIN_EXTENDED_CLUSTER_BITS = 14;
/** Refcounts are 1 << refcount order bits wide. */
export const MAX_REFCOUNT_ORDER = 6;
/** That of version 2. */
export const DEFAULT_REFCOUNT_ORDER = 4;

/** Limits that keep an image from making the host hold as much memory as it likes. */
export const MAX_L1_BYTES = 32 << 20;
export const MAX_REFCOUNT_TABLE_BYTES = 8 << 20;
export const MAX_SNAPSHOTS = 65536;
export const MAX_VIRTUAL_BYTES = 2 ** 44;
export const MAX_BACKING_NAME_BYTES = 1023;
/** What a path on Linux can have. */
export const MAX_DATA_NAME_BYTES = 4095;

/** Offsets in the header. */
export const Header = {
  MAGIC: 0,
  VERSION: 4,
  BACKING_OFFSET: 8,
  BACKING_SIZE: 16,
  CLUSTER_BITS: 20,
  SIZE: 24,
  CRYPT_METHOD: 32,
  L1_SIZE: 36,
  L1_OFFSET: 40,
  REFCOUNT_TABLE_OFFSET: 48,
  REFCOUNT_TABLE_CLUSTERS: 56,
  SNAPSHOTS: 60,
  SNAPSHOTS_OFFSET: 64,
  V2_BYTES: 72,
  INCOMPATIBLE: 72,
  COMPATIBLE: 80,
  AUTOCLEAR: 88,
  REFCOUNT_ORDER: 96,
  LENGTH: 100,
  V3_BYTES: 104,
  COMPRESSION: 104,
} as const;

/** Incompatible feature bits. */
export const Incompatible = {
  DIRTY: 0,
  CORRUPT: 1,
  EXTERNAL_DATA: 2,
  COMPRESSION: 3,
  EXTENDED_L2: 4,
} as const;

/** Autoclear feature bits. */
export const Autoclear = {
  /** The external data file is a raw image of the disk by itself. */
  RAW_DATA: 1,
} as const;

/** Types of header extensions. */
export const Extension = {
  END: 0,
  BACKING_FORMAT: 0xe279_2aca,
  DATA_FILE_NAME: 0x4441_5441,
  FEATURE_NAMES: 0x6803_f857,
} as const;

/** Flags in the high and low halves of L1 and L2 entries. */
export const EntryFlag = {
  /** High half: the refcount of what the entry refers to is exactly one. */
  COPIED: 0x8000_0000,
  /** High half: a compressed cluster. */
  COMPRESSED: 0x4000_0000,
  /** Low half: reads as zeroes (version 3). */
  ZERO: 1,
} as const;

const OFFSET_HIGH = 0x00ff_ffff;
const OFFSET_LOW = 0xffff_fe00;
const HIGH = 0x1_0000_0000;
/** Bits that must be zero in a standard entry. */
const RESERVED_HIGH = 0x3f00_0000;
const RESERVED_LOW = 0x1fe;

/** The file offset in an L1, L2 or refcount table entry: bits 9 to 55. May be beyond what a number holds exactly. */
export const entryOffset = (high: number, low: number): number =>
  (high & OFFSET_HIGH) * HIGH + ((low & OFFSET_LOW) >>> 0);

/** Whether reserved bits of a standard entry are set. */
export const hasReservedBits = (high: number, low: number): boolean =>
  (high & RESERVED_HIGH) !== 0 || (low & RESERVED_LOW) !== 0;

/** Where a compressed cluster lies: the entry's offset field is narrower the larger clusters are. */
export function compressedExtent(
  high: number,
  low: number,
  clusterBits: number,
): { readonly offset: number; readonly length: number } {
  const highBits = 62 - (clusterBits - 8) - 32;
  const offset = (high & (2 ** highBits - 1)) * HIGH + (low >>> 0);
  const sectors = ((high & 0x3fff_ffff) >>> highBits) + 1;
  return { offset, length: sectors * 512 - (offset % 512) };
}

/** The high half of a number below 2^53. */
export const highHalf = (value: number): number => Math.floor(value / HIGH);
/** The low half of a number below 2^53. */
export const lowHalf = (value: number): number => value >>> 0;
