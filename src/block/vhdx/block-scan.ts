import { DiskImageError } from "../image-error.ts";
import {
  alignUp,
  type BlockGeometry,
  BlockState,
  ENTRY_BYTES,
  type Extent,
  entryOffset,
  entryState,
  HEADER_SECTION_BYTES,
  hasReservedBits,
  MIB,
} from "./layout.ts";
import type { MetadataSource } from "./metadata-source.ts";

/** What a look at a whole block table tells. */
export interface BlockScan {
  /** Whole MiB that hold all of the file, and all blocks to their ends. */
  readonly fileEnd: number;
  /** Whether each place that a block without data has is its own. */
  readonly keepsPlaces: boolean;
}

const CHUNK_BYTES = MIB;

/**
 * Checks that each entry of a block table is one that can be, and that no two blocks, and no block and anything else, share a
 * place in the file.
 * @param path the image, for messages
 * @param taken what else is in the file
 * @param fileSize bytes of the file
 * @throws DiskImageError
 */
export function scanBlocks(
  path: string,
  source: MetadataSource,
  table: Extent,
  geometry: BlockGeometry,
  taken: readonly Extent[],
  fileSize: number,
): BlockScan {
  const { diskBytes, blockBytes } = geometry;
  const places = new Places(fileSize);
  let fileEnd = alignUp(fileSize, MIB);
  let hasOthers = false;
  for (const { offset, length } of taken) {
    places.take(offset, length);
    fileEnd = Math.max(fileEnd, offset + length);
  }
  forPayload(path, source, table, geometry, (block, state, place) => {
    if (state !== BlockState.FULLY_PRESENT) {
      hasOthers ||= place !== 0 && (state === BlockState.UNMAPPED || state === BlockState.UNDEFINED);
      return;
    }
    const used = Math.min(blockBytes, diskBytes - block * blockBytes);
    if (place < HEADER_SECTION_BYTES || place + used > alignUp(fileSize, MIB))
      throw new DiskImageError(
        path,
        `has block ${block} at offset ${place}, beyond its end: it is damaged or cut short`,
      );
    if (!places.take(place, blockBytes))
      throw new DiskImageError(path, `is damaged: its block ${block} is at offset ${place}, where something else is`);
    fileEnd = Math.max(fileEnd, place + blockBytes);
  });
  let keepsPlaces = true;
  if (hasOthers)
    forPayload(path, source, table, geometry, (_block, state, place) => {
      if (place === 0 || (state !== BlockState.UNMAPPED && state !== BlockState.UNDEFINED)) return;
      const isInside = place >= HEADER_SECTION_BYTES && place + blockBytes <= fileEnd;
      keepsPlaces &&= isInside && places.take(place, blockBytes);
    });
  return { fileEnd, keepsPlaces };
}

/** Goes through the entries of payload blocks, and sees that there is none of another kind. */
function forPayload(
  path: string,
  source: MetadataSource,
  table: Extent,
  { entries, chunkRatio }: BlockGeometry,
  each: (block: number, state: number, place: number) => void,
): void {
  const bytes = entries * ENTRY_BYTES;
  let block = 0;
  for (let start = 0; start < bytes; start += CHUNK_BYTES) {
    const chunk = source.read(table.offset + start, Math.min(CHUNK_BYTES, bytes - start));
    for (let at = 0; at < chunk.length; at += ENTRY_BYTES) {
      const low = chunk.readUInt32LE(at);
      const high = chunk.readUInt32LE(at + 4);
      const state = entryState(low);
      if (hasReservedBits(low)) throw new DiskImageError(path, `is damaged: reserved bits of block ${block} are set`);
      const isBitmap = ((start + at) / ENTRY_BYTES) % (chunkRatio + 1) === chunkRatio;
      if (state === BlockState.PARTIALLY_PRESENT || (isBitmap && state !== BlockState.NOT_PRESENT))
        throw new DiskImageError(path, "has blocks that are partly its parent's, though it has none: it is damaged");
      if (state > BlockState.UNMAPPED && state !== BlockState.FULLY_PRESENT)
        throw new DiskImageError(path, `is damaged: its block ${block} is in state ${state}`);
      if (!isBitmap) each(block++, state, entryOffset(high, low));
    }
  }
}

/** Which MiB of a file are taken. */
class Places {
  readonly #bits: Uint8Array;

  constructor(fileBytes: number) {
    this.#bits = new Uint8Array(Math.ceil(fileBytes / MIB / 8) + 1);
  }

  /** Takes a range, as far as it is in the file. @returns whether all of it was free */
  take(offset: number, length: number): boolean {
    const end = Math.min((offset + length) / MIB, this.#bits.length * 8);
    let isFree = true;
    for (let at = offset / MIB; at < end; at++) {
      const index = at >>> 3;
      const bit = 1 << (at & 7);
      isFree &&= ((this.#bits[index] ?? 0) & bit) === 0;
      this.#bits[index] = (this.#bits[index] ?? 0) | bit;
    }
    return isFree;
  }
}
