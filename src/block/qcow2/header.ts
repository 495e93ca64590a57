import { DiskImageError } from "../image-error.ts";
import {
  Autoclear,
  DEFAULT_REFCOUNT_ORDER,
  ENTRY_BYTES,
  EXTENDED_ENTRY_BYTES,
  Extension,
  Header,
  Incompatible,
  MAX_BACKING_NAME_BYTES,
  MAX_CLUSTER_BITS,
  MAX_DATA_NAME_BYTES,
  MAX_L1_BYTES,
  MAX_REFCOUNT_ORDER,
  MAX_REFCOUNT_TABLE_BYTES,
  MAX_SNAPSHOTS,
  MAX_VIRTUAL_BYTES,
  MIN_CLUSTER_BITS,
  MIN_EXTENDED_CLUSTER_BITS,
  QCOW2_MAGIC,
} from "./layout.ts";

/** What the header of an image says, checked: sizes and offsets in bytes. */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  /** Of the disk. */
  readonly size: number;
  readonly l1Offset: number;
  readonly l1Entries: number;
  /** Bytes of an entry of an L2 table: extended ones, of 16, are about the subclusters of a cluster. */
  readonly entryBytes: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly refcountOrder: number;
  readonly snapshots: number;
  readonly snapshotsOffset: number;
  readonly isDirty: boolean;
  readonly isCorrupt: boolean;
  /** Features that are not known here, to be taken back before anything is changed. */
  readonly hasAutoclearBits: boolean;
  readonly compression: "zlib" | "zstd";
  /** What holds the disk's data, at its place on the disk; as the image names it. */
  readonly dataFile:
    | {
        readonly name: string;
        /** Whether it is to be a raw image of the disk by itself, too. */
        readonly isRaw: boolean;
      }
    | undefined;
  /** As the image names it. */
  readonly backing: { readonly name: string; readonly format: string | undefined } | undefined;
}

const KNOWN_INCOMPATIBLE =
  (1 << Incompatible.DIRTY) |
  (1 << Incompatible.CORRUPT) |
  (1 << Incompatible.EXTERNAL_DATA) |
  (1 << Incompatible.COMPRESSION) |
  (1 << Incompatible.EXTENDED_L2);
const RAW_DATA = 1n << BigInt(Autoclear.RAW_DATA);
const COMPRESSIONS = ["zlib", "zstd"] as const;
const FEATURE_NAME_BYTES = 48;
const INCOMPATIBLE_FEATURE = 0;

/**
 * Reads a header.
 * @param path the image, for messages
 * @param head the file's first cluster, or as much of it as there is
 * @param fileSize bytes of the file
 * @throws DiskImageError saying what is wrong or not supported
 */
export function parseHeader(path: string, head: Buffer, fileSize: number): Qcow2Header {
  return new HeaderReader(path, head, fileSize).read();
}

class HeaderReader {
  readonly #path: string;
  readonly #head: Buffer;
  readonly #fileSize: number;

  constructor(path: string, head: Buffer, fileSize: number) {
    this.#path = path;
    this.#head = head;
    this.#fileSize = fileSize;
  }

  read(): Qcow2Header {
    const head = this.#head;
    if (head.length < Header.V2_BYTES || head.readUInt32BE(Header.MAGIC) !== QCOW2_MAGIC)
      this.#refuse("has no qcow2 header: it may be cut short");
    const version = head.readUInt32BE(Header.VERSION);
    if (version !== 2 && version !== 3) this.#refuse(`is qcow version ${version}, only 2 and 3 are known`);
    const clusterBits = head.readUInt32BE(Header.CLUSTER_BITS);
    if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS)
      this.#refuse(
        `has clusters of 2^${clusterBits} bytes, possible are 2^${MIN_CLUSTER_BITS} to 2^${MAX_CLUSTER_BITS}`,
      );
    if (head.readUInt32BE(Header.CRYPT_METHOD) !== 0)
      this.#refuse("is encrypted, which is not supported: convert it to an image that is not");
    const features = version === 3 ? this.#features(clusterBits) : undefined;
    const size = this.#u64(Header.SIZE, "size of the disk");
    if (size > MAX_VIRTUAL_BYTES) this.#refuse(`is a disk of ${size} bytes, at most ${MAX_VIRTUAL_BYTES} are possible`);
    const snapshots = head.readUInt32BE(Header.SNAPSHOTS);
    if (snapshots > MAX_SNAPSHOTS) this.#refuse(`has ${snapshots} snapshots, at most ${MAX_SNAPSHOTS} are possible`);
    const entryBytes = features?.entryBytes ?? ENTRY_BYTES;
    const l1 = this.#l1(clusterBits, size, entryBytes);
    const backing = this.#backing(clusterBits, features?.length ?? Header.V2_BYTES);
    const dataFile = features?.isExternal === true ? this.#dataFile(clusterBits, features) : undefined;
    if (dataFile !== undefined && snapshots > 0) this.#refuse("has snapshots, though its data is in another file");
    if (dataFile?.isRaw === true && backing !== undefined)
      this.#refuse("has a backing file, though its data is to be a raw image by itself");
    const refcountTableClusters = head.readUInt32BE(Header.REFCOUNT_TABLE_CLUSTERS);
    const refcountTableBytes = refcountTableClusters * 2 ** clusterBits;
    if (refcountTableClusters === 0 || refcountTableBytes > MAX_REFCOUNT_TABLE_BYTES)
      this.#refuse(`has a refcount table of ${refcountTableClusters} clusters`);
    return {
      version,
      clusterBits,
      size,
      ...l1,
      entryBytes,
      refcountTableOffset: this.#table(Header.REFCOUNT_TABLE_OFFSET, refcountTableBytes, clusterBits, "refcount table"),
      refcountTableClusters,
      refcountOrder: features?.refcountOrder ?? DEFAULT_REFCOUNT_ORDER,
      snapshots,
      snapshotsOffset: snapshots === 0 ? 0 : this.#table(Header.SNAPSHOTS_OFFSET, 0, clusterBits, "snapshot table"),
      isDirty: features?.isDirty ?? false,
      isCorrupt: features?.isCorrupt ?? false,
      hasAutoclearBits: features?.hasAutoclearBits ?? false,
      compression: features?.compression ?? "zlib",
      backing,
      dataFile,
    };
  }

  /** What only version 3 has. */
  #features(clusterBits: number) {
    const head = this.#head;
    if (head.length < Header.V3_BYTES) this.#refuse("has no qcow2 header: it may be cut short");
    const length = head.readUInt32BE(Header.LENGTH);
    if (length < Header.V3_BYTES || length > 2 ** clusterBits || length > head.length)
      this.#refuse(`has a header of ${length} bytes`);
    const low = head.readUInt32BE(Header.INCOMPATIBLE + 4);
    const high = head.readUInt32BE(Header.INCOMPATIBLE);
    const unknown = [...bitsOf(low & ~KNOWN_INCOMPATIBLE), ...bitsOf(high).map((bit) => bit + 32)];
    if (unknown.length > 0) {
      const names = this.#featureNames(length);
      const list = unknown.map((bit) => names.get(bit) ?? `bit ${bit}`).join(", ");
      this.#refuse(`uses features that are not supported: ${list}: convert it with qemu-img convert`);
    }
    const refcountOrder = head.readUInt32BE(Header.REFCOUNT_ORDER);
    if (refcountOrder > MAX_REFCOUNT_ORDER) this.#refuse(`has refcounts of 2^${refcountOrder} bits`);
    const method = length > Header.COMPRESSION ? head.readUInt8(Header.COMPRESSION) : 0;
    const compression = COMPRESSIONS[method];
    if (compression === undefined) this.#refuse(`uses compression method ${method}, only zlib and zstd are known`);
    if ((method !== 0) !== ((low & (1 << Incompatible.COMPRESSION)) !== 0))
      this.#refuse("names a compression method and does not say so in its feature bits, or the reverse");
    const isExtended = (low & (1 << Incompatible.EXTENDED_L2)) !== 0;
    if (isExtended && clusterBits < MIN_EXTENDED_CLUSTER_BITS)
      this.#refuse(
        `has subclusters in clusters of 2^${clusterBits} bytes, at least 2^${MIN_EXTENDED_CLUSTER_BITS} are needed`,
      );
    const isExternal = (low & (1 << Incompatible.EXTERNAL_DATA)) !== 0;
    const autoclear = head.readBigUInt64BE(Header.AUTOCLEAR);
    return {
      length,
      entryBytes: isExtended ? EXTENDED_ENTRY_BYTES : ENTRY_BYTES,
      refcountOrder,
      compression,
      isDirty: (low & (1 << Incompatible.DIRTY)) !== 0,
      isCorrupt: (low & (1 << Incompatible.CORRUPT)) !== 0,
      isExternal,
      isRaw: isExternal && (autoclear & RAW_DATA) !== 0n,
      hasAutoclearBits: (autoclear & ~(isExternal ? RAW_DATA : 0n)) !== 0n,
    };
  }

  /** The L1 table, which must cover the disk. */
  #l1(clusterBits: number, size: number, entryBytes: number): { l1Offset: number; l1Entries: number } {
    const l1Entries = this.#head.readUInt32BE(Header.L1_SIZE);
    if (l1Entries * ENTRY_BYTES > MAX_L1_BYTES) this.#refuse(`has an L1 table of ${l1Entries} entries`);
    const bytesOfEntry = 2 ** (2 * clusterBits) / entryBytes;
    const needed = Math.ceil(size / bytesOfEntry);
    if (l1Entries < needed) this.#refuse(`has an L1 table of ${l1Entries} entries, its size needs ${needed}`);
    if (l1Entries === 0) return { l1Offset: 0, l1Entries };
    return { l1Offset: this.#table(Header.L1_OFFSET, l1Entries * ENTRY_BYTES, clusterBits, "L1 table"), l1Entries };
  }

  /** The offset of a table: of whole clusters, in the file and not in the header. */
  #table(field: number, length: number, clusterBits: number, what: string): number {
    const offset = this.#u64(field, `offset of its ${what}`);
    if (offset === 0 || offset % 2 ** clusterBits !== 0 || offset + length > this.#fileSize)
      this.#refuse(`has its ${what} at offset ${offset}, where none can be: it is damaged or cut short`);
    return offset;
  }

  #backing(clusterBits: number, headerLength: number): Qcow2Header["backing"] {
    const offset = this.#u64(Header.BACKING_OFFSET, "offset of the name of its backing file");
    if (offset === 0) return undefined;
    const length = this.#head.readUInt32BE(Header.BACKING_SIZE);
    const end = offset + length;
    if (length > MAX_BACKING_NAME_BYTES || end > 2 ** clusterBits || end > this.#head.length || offset < headerLength)
      this.#refuse(`has the name of its backing file, ${length} bytes, at offset ${offset}`);
    const format = this.#extensions(headerLength, offset).find(({ type }) => type === Extension.BACKING_FORMAT);
    return { name: this.#head.toString("utf8", offset, end), format: format?.data.toString("utf8") };
  }

  #dataFile(
    clusterBits: number,
    features: { readonly length: number; readonly isRaw: boolean },
  ): Qcow2Header["dataFile"] {
    const backing = this.#u64(Header.BACKING_OFFSET, "offset of the name of its backing file");
    const end = backing === 0 ? 2 ** clusterBits : backing;
    const name = this.#extensions(features.length, end).find(({ type }) => type === Extension.DATA_FILE_NAME)?.data;
    if (name === undefined || name.length === 0)
      this.#refuse("keeps its data in another file and does not say in which");
    if (name.length > MAX_DATA_NAME_BYTES || name.includes(0))
      this.#refuse(`keeps its data in a file with a name of ${name.length} bytes that cannot be a file's`);
    return { name: name.toString("utf8"), isRaw: features.isRaw };
  }

  /** Names of incompatible features that the image brings, by their bits. */
  #featureNames(headerLength: number): Map<number, string> {
    const names = new Map<number, string>();
    const table = this.#extensions(headerLength, this.#head.length).find(
      ({ type }) => type === Extension.FEATURE_NAMES,
    )?.data;
    for (let at = 0; table !== undefined && at + FEATURE_NAME_BYTES <= table.length; at += FEATURE_NAME_BYTES)
      if (table.readUInt8(at) === INCOMPATIBLE_FEATURE) {
        const name = table.toString("latin1", at + 2, at + FEATURE_NAME_BYTES);
        // What an image says is shown on a terminal.
        names.set(table.readUInt8(at + 1), name.replace(/\0.*$/s, "").replaceAll(/[^ -~]/g, "?"));
      }
    return names;
  }

  #extensions(from: number, until: number): { readonly type: number; readonly data: Buffer }[] {
    const head = this.#head;
    const end = Math.min(until, head.length);
    const found: { type: number; data: Buffer }[] = [];
    for (let at = Math.ceil(from / 8) * 8; at + 8 <= end; ) {
      const type = head.readUInt32BE(at);
      const length = head.readUInt32BE(at + 4);
      if (type === Extension.END) break;
      if (at + 8 + length > end) this.#refuse(`has a header extension of ${length} bytes, which does not fit`);
      found.push({ type, data: head.subarray(at + 8, at + 8 + length) });
      at += 8 + Math.ceil(length / 8) * 8;
    }
    return found;
  }

  #u64(offset: number, what: string): number {
    const value = this.#head.readBigUInt64BE(offset);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.#refuse(`has ${value} for the ${what}`);
    return Number(value);
  }

  #refuse(problem: string): never {
    throw new DiskImageError(this.#path, problem);
  }
}

function bitsOf(word: number): number[] {
  return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => ((word >>> bit) & 1) !== 0);
}
