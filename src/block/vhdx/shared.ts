import { MemoryBlock } from "../../host/memory-block.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import type { BlockRef } from "../../threads/block-ref.ts";
import { Lock } from "../../threads/lock.ts";
import { HEADER_PAIR_BYTES } from "./header.ts";
import { GUID_BYTES, SECTOR } from "./layout.ts";
import { LOG_ENTRY_BYTES } from "./log-writer.ts";

/** Numbers that change while an image is open, by their place in `VhdxShared.words`. */
export const Word = {
  /** Where the next block goes: whole MiB, at the file's end or beyond. */
  FILE_END: 0,
  /** Not zero when the file may hold something beyond `FILE_END`. */
  HAS_REMAINS: 1,
  /** Not zero when the file ends before `FILE_END` until it is changed. */
  IS_SHORT: 9,
  /** Not zero when the headers tell that the file is being changed. */
  BEGUN: 2,
  /** Entries that were written to the log. */
  LOG_ENTRIES: 3,
  /** Not zero when the headers tell that the log is in use. */
  LOG_IS_USED: 4,
  /** Slots that hold a sector of the table. */
  USED_SLOTS: 5,
  /** Of these, the first ones stay: what the file has there is out of date. */
  PINNED_SLOTS: 6,
  /** Slots that differ from the file. */
  DIRTY_SLOTS: 7,
  /** Not zero when the image could not be made durable: nothing is written to it any more. */
  BROKEN: 8,
  COUNT: 16,
} as const;

/** The bound of the sectors of the block table in memory. They cover 1 TiB of disk with blocks of 1 MiB, 32 TiB with 32 MiB. */
export const MAX_TABLE_BYTES = 8 << 20;
const WORDS_OFFSET = 64;

/** Sizes of the parts of the shared memory. */
export interface VhdxCapacity {
  /** Of the block table. */
  readonly sectors: number;
  readonly slots: number;
}

/**
 * @param sectors of the block table
 * @param pinned of these, those that stay in memory
 */
export const capacityOf = (sectors: number, pinned: number): VhdxCapacity => ({
  sectors,
  slots: Math.min(sectors, MAX_TABLE_BYTES / SECTOR + pinned),
});

/** What the threads of an open image share: its headers, sectors of the block table, the log entry being made. Under one lock. */
export class VhdxShared {
  readonly capacity: VhdxCapacity;
  readonly lock: Lock;
  readonly words: Float64Array;
  readonly headers: MemoryBlock;
  /** New values for the headers. */
  readonly fileWriteGuid: Uint8Array;
  readonly dataWriteGuid: Uint8Array;
  readonly logGuid: Uint8Array;
  readonly logEntry: MemoryBlock;
  /** Of each sector of the table: its slot plus one, or 0. */
  readonly slotOf: Int32Array;
  /** Of each slot: its sector. */
  readonly sectorOf: Int32Array;
  /** Of each slot: not zero when it differs from the file. */
  readonly dirty: Uint8Array;
  readonly table: MemoryBlock;

  constructor(ref: BlockRef, capacity: VhdxCapacity) {
    const { sectors, slots } = capacity;
    this.capacity = capacity;
    let at = ref.address;
    const take = (bytes: number): MemoryBlock => {
      const block = new MemoryBlock(at, bytes);
      at += Math.ceil(bytes / 8) * 8;
      return block;
    };
    const lock = take(WORDS_OFFSET);
    this.lock = new Lock(lock.i32, lock.address);
    this.words = new Float64Array(take(8 * Word.COUNT).u8.buffer);
    this.headers = take(HEADER_PAIR_BYTES);
    this.fileWriteGuid = take(GUID_BYTES).u8;
    this.dataWriteGuid = take(GUID_BYTES).u8;
    this.logGuid = take(GUID_BYTES).u8;
    this.slotOf = take(4 * sectors).i32;
    this.sectorOf = take(4 * slots).i32;
    this.dirty = take(slots).u8;
    this.logEntry = take(LOG_ENTRY_BYTES);
    this.table = take(slots * SECTOR);
  }

  /** Memory for an image. @throws SysError */
  static allocate({ sectors, slots }: VhdxCapacity): BlockRef {
    const fixed = WORDS_OFFSET + 8 * Word.COUNT + HEADER_PAIR_BYTES + 3 * GUID_BYTES + LOG_ENTRY_BYTES;
    // Each part starts at a multiple of 8.
    const { address, size } = mapAnonymous(fixed + 4 * sectors + 5 * slots + slots * SECTOR + 64);
    return { address, size };
  }

  /** Gives the memory back. No thread may use it any more. @throws SysError */
  static free({ address, size }: BlockRef): void {
    munmap(address, size);
  }
}
