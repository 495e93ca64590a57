/** What a driver did wrong with a split virtqueue. */
export type QueueDefect =
  /** The size is not a power of two up to 32768. */
  | "queue size"
  /** A ring does not have the alignment of its kind. */
  | "ring alignment"
  /** A ring is not wholly inside one region of guest RAM. */
  | "ring outside RAM"
  /** The available index is more than a queue ahead of what the device has taken. */
  | "available index"
  /** The available ring names a descriptor beyond the table. */
  | "head beyond the table"
  /** The available ring names a chain that the device still holds. */
  | "head in flight"
  /** `next` of a descriptor lies beyond its table. */
  | "next beyond the table"
  /** More descriptors than the queue has, a loop included. */
  | "chain too long"
  /** More than 4 GiB in one chain. */
  | "chain too large"
  /** A buffer is not wholly inside one region of guest RAM. */
  | "buffer outside RAM"
  /** A device-readable descriptor follows a device-writable one. */
  | "readable after writable"
  /** A descriptor of an indirect table refers to another table. */
  | "nested indirect table"
  /** A descriptor has both INDIRECT and NEXT. */
  | "indirect with next"
  /** An indirect table is empty or not a multiple of 16 bytes. */
  | "indirect table length"
  /** An indirect table is not wholly inside one region of guest RAM. */
  | "indirect table outside RAM";

/**
 * A driver broke the rules of a virtqueue. With `head`, only that chain is bad: the device may return it with length 0
 * and go on. Without, the ring itself cannot be trusted and the device needs a reset.
 */
export class QueueError extends Error {
  override readonly name = "QueueError";
  readonly defect: QueueDefect;
  /** The first descriptor of the bad chain, which counts as taken: to be given back with `Queue.complete`. */
  readonly head: number | undefined;

  constructor(queue: number, defect: QueueDefect, head?: number) {
    super(`virtqueue ${queue}: ${defect}${head === undefined ? "" : ` (descriptor ${head})`}`);
    this.defect = defect;
    this.head = head;
  }
}
