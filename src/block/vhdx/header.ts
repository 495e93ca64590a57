import type { MemoryBlock } from "../../host/memory-block.ts";
import { DiskImageError } from "../image-error.ts";
import type { ImageFile } from "../image-file.ts";
import { checksumOf } from "./crc32c.ts";
import {
  type Extent,
  GUID_BYTES,
  guidAt,
  HEADER_BYTES,
  HEADER_OFFSETS,
  HEADER_SECTION_BYTES,
  HEADER_SIGNATURE,
  Header,
  MIB,
  NO_GUID,
  VERSION,
} from "./layout.ts";

/** What the current header of a file says. */
export interface VhdxHeader {
  /** Which of the two it is. */
  readonly slot: 0 | 1;
  /** As in the file. */
  readonly bytes: Buffer;
  readonly log: Extent;
  /** Undefined when the log is empty. */
  readonly logGuid: string | undefined;
}

/** No file has been changed so often: what has more could soon not be counted any further. */
const MAX_SEQUENCE_NUMBER = 2n ** 63n;
/** A log is 1 MiB long as a rule; one that is replayed is gone over as a whole. */
const MAX_REPLAYED_LOG_BYTES = 64 * MIB;

/**
 * Chooses the current header of two and checks it.
 * @param path the image, for messages
 * @param section the first `HEADERS_BYTES` of the file
 * @param fileSize bytes of the file
 * @throws DiskImageError saying what is wrong
 */
export function parseHeader(path: string, section: Buffer, fileSize: number): VhdxHeader {
  const { slot, bytes } = currentHeader(path, section);
  const version = bytes.readUInt16LE(Header.VERSION);
  if (version !== VERSION) throw new DiskImageError(path, `is VHDX version ${version}, only ${VERSION} is known`);
  if (bytes.readBigUInt64LE(Header.SEQUENCE_NUMBER) >= MAX_SEQUENCE_NUMBER)
    throw new DiskImageError(path, "is damaged: the sequence number of its header is out of range");
  const guid = guidAt(bytes, Header.LOG_GUID);
  const logVersion = bytes.readUInt16LE(Header.LOG_VERSION);
  if (guid !== NO_GUID && logVersion !== 0)
    throw new DiskImageError(path, `has a log of version ${logVersion}, only 0 is known`);
  const offset = Number(bytes.readBigUInt64LE(Header.LOG_OFFSET));
  const length = bytes.readUInt32LE(Header.LOG_LENGTH);
  if (offset % MIB !== 0 || length % MIB !== 0 || length === 0 || offset < HEADER_SECTION_BYTES)
    throw new DiskImageError(path, `is damaged: its log of ${length} bytes is at offset ${offset}`);
  if (guid !== NO_GUID && length > MAX_REPLAYED_LOG_BYTES)
    throw new DiskImageError(
      path,
      `was not closed properly, and its log has room for ${length} bytes, ${MAX_REPLAYED_LOG_BYTES} at most are gone over here`,
    );
  if (offset + length > fileSize)
    throw new DiskImageError(path, `has its log beyond its end, at offset ${offset}: it is cut short, copy it again`);
  return { slot, bytes, log: { offset, length }, logGuid: guid === NO_GUID ? undefined : guid };
}

/** The newer of the headers that are whole (2.2.2). */
function currentHeader(path: string, section: Buffer): { readonly slot: 0 | 1; readonly bytes: Buffer } {
  const [first, second] = HEADER_OFFSETS.map((offset) => {
    const bytes = section.subarray(offset, offset + HEADER_BYTES);
    const isWhole =
      bytes.toString("latin1", 0, HEADER_SIGNATURE.length) === HEADER_SIGNATURE &&
      bytes.readUInt32LE(Header.CHECKSUM) === checksumOf(bytes);
    return isWhole ? bytes : undefined;
  });
  if (first === undefined && second === undefined)
    throw new DiskImageError(path, "is damaged: neither of its two headers is whole");
  if (second === undefined) return { slot: 0, bytes: first ?? section };
  if (first === undefined) return { slot: 1, bytes: second };
  const numbers = [first, second].map((bytes) => bytes.readBigUInt64LE(Header.SEQUENCE_NUMBER));
  const [one = 0n, two = 0n] = numbers;
  if (one === two && !first.equals(second))
    throw new DiskImageError(path, "is damaged: its two headers differ and none is newer");
  return two > one ? { slot: 1, bytes: second } : { slot: 0, bytes: first };
}

/** GUIDs of a header that change while an image is used. */
export type HeaderGuid = "FILE_WRITE_GUID" | "DATA_WRITE_GUID" | "LOG_GUID";

/** Bytes that `HeaderPair` needs. */
export const HEADER_PAIR_BYTES = HEADER_BYTES + 8;
const SLOT_OFFSET = HEADER_BYTES;

/** The headers of an open image, whose current one is kept in memory that threads may share. To be used under a lock. */
export class HeaderPair {
  readonly #file: ImageFile;
  readonly #memory: MemoryBlock;

  /** @param memory `HEADER_PAIR_BYTES`, filled by `load` of this or another thread's instance */
  constructor(file: ImageFile, memory: MemoryBlock) {
    this.#file = file;
    this.#memory = memory;
  }

  load({ slot, bytes }: VhdxHeader): void {
    this.#memory.u8.set(bytes);
    this.#memory.view.setUint32(SLOT_OFFSET, slot);
  }

  /**
   * Changes GUIDs, durably: first in the header that is not current, which then is, and then in the other one, so that both
   * are up to date (2.2.2.1).
   * @param values `GUID_BYTES` each
   * @throws ImageIoError; what the file then says is not known
   */
  update(values: Readonly<Partial<Record<HeaderGuid, Uint8Array>>>): void {
    const { u8, view, address } = this.#memory;
    for (const name of ["FILE_WRITE_GUID", "DATA_WRITE_GUID", "LOG_GUID"] as const) {
      const guid = values[name];
      if (guid !== undefined) u8.set(guid.subarray(0, GUID_BYTES), Header[name]);
    }
    for (let i = 0; i < HEADER_OFFSETS.length; i++) {
      const slot = view.getUint32(SLOT_OFFSET) === 0 ? 1 : 0;
      view.setBigUint64(Header.SEQUENCE_NUMBER, view.getBigUint64(Header.SEQUENCE_NUMBER, true) + 1n, true);
      view.setUint32(Header.CHECKSUM, checksumOf(u8.subarray(0, HEADER_BYTES)), true);
      this.#file.write(HEADER_OFFSETS[slot], address, HEADER_BYTES);
      this.#file.sync();
      view.setUint32(SLOT_OFFSET, slot);
    }
  }
}
