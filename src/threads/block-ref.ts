import { MemoryBlock } from "../host/memory-block.ts";

/** A block of the shared arena as plain data, to tell another thread of it. */
export interface BlockRef {
  readonly address: number;
  readonly size: number;
}

/** What to tell another thread. */
export const refTo = ({ address, size }: MemoryBlock): BlockRef => ({ address, size });

/** The block in this thread. */
export const blockAt = ({ address, size }: BlockRef): MemoryBlock => new MemoryBlock(address, size);
