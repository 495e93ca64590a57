import { setIovec } from "../../../host/iovec.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";

/**
 * The buffers of one descriptor chain, flattened: indirect tables are resolved, every buffer lies in guest RAM, all
 * device-readable ones come first, and descriptors of length 0 are left out. Each queue has one object that the next
 * `pop` fills again: what outlives that has to be copied.
 *
 * Buffers 0 to `readableCount` - 1 are device-readable, `readableCount` to `count` - 1 device-writable.
 */
export class DescriptorChain {
  /** Guest physical address of each buffer. */
  readonly gpas: Float64Array;
  /** Host virtual address of each buffer. */
  readonly hvas: Float64Array;
  /** Bytes in each buffer, at least 1. */
  readonly lengths: Uint32Array;
  /** Index of the chain's first descriptor: what `Queue.complete` wants. */
  head = 0;
  count = 0;
  readableCount = 0;
  /** Sum of the device-readable lengths, at most 4 GiB. */
  readableBytes = 0;
  /** Sum of the device-writable lengths, at most 4 GiB. */
  writableBytes = 0;
  readonly #memory: GuestMemory;

  /** @param capacity the most buffers a chain can have: the queue size */
  constructor(memory: GuestMemory, capacity: number) {
    this.#memory = memory;
    this.gpas = new Float64Array(capacity);
    this.hvas = new Float64Array(capacity);
    this.lengths = new Uint32Array(capacity);
  }

  /** Empties the object for the chain that starts at descriptor `head`. */
  begin(head: number): void {
    this.head = head;
    this.count = 0;
    this.readableCount = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  /** Appends a buffer that has been checked. */
  append(gpa: number, hva: number, length: number, writable: boolean): void {
    const { count } = this;
    this.gpas[count] = gpa;
    this.hvas[count] = hva;
    this.lengths[count] = length;
    this.count = count + 1;
    if (writable) this.writableBytes += length;
    else {
      this.readableCount = count + 1;
      this.readableBytes += length;
    }
  }

  /**
   * The little-endian 32-bit value at byte `offset` of the device-readable part, wherever buffer borders lie.
   * @throws RangeError beyond `readableBytes`
   */
  readU32(offset: number): number {
    let start = offset;
    for (let i = 0; i < this.readableCount; i++) {
      const length = this.lengths[i] ?? 0;
      if (start + 4 <= length) return this.#memory.readU32((this.gpas[i] ?? 0) + start);
      if (start < length) break;
      start -= length;
    }
    let value = 0;
    for (let i = 3; i >= 0; i--) value = value * 256 + this.readU8(offset + i);
    return value;
  }

  /**
   * The little-endian 64-bit value at byte `offset` of the device-readable part: exact to 2^53, larger for what no
   * offset or size can be.
   * @throws RangeError beyond `readableBytes`
   */
  readU64(offset: number): number {
    return this.readU32(offset) + this.readU32(offset + 4) * 0x1_0000_0000;
  }

  /** The byte at `offset` of the device-readable part. @throws RangeError beyond `readableBytes` */
  readU8(offset: number): number {
    return this.#memory.readU8(this.#locate(offset, 0, this.readableCount));
  }

  /** The guest physical address of byte `offset` of the device-writable part. @throws RangeError beyond `writableBytes` */
  writableGpa(offset: number): number {
    return this.#locate(offset, this.readableCount, this.count);
  }

  /** Sets the byte at `offset` of the device-writable part. @throws RangeError beyond `writableBytes` */
  writeU8(offset: number, value: number): void {
    this.#memory.writeU8(this.writableGpa(offset), value);
  }

  /**
   * Copies `bytes` to `offset` of the device-writable part. For small structures: bulk data goes by host address.
   * @throws RangeError beyond `writableBytes`
   */
  write(offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) this.writeU8(offset + i, bytes[i] ?? 0);
  }

  /**
   * Describes the device-readable bytes from `skip` on as an iovec array.
   * @param table the array as 32-bit words, in mapped memory; its length limits how many elements are written
   * @param limit describe at most this many bytes
   * @param at the first element to write
   * @returns how many elements were written
   */
  readableIovecs(table: Uint32Array, skip: number, limit: number = Number.POSITIVE_INFINITY, at = 0): number {
    return this.#iovecs(table, 0, this.readableCount, skip, limit, at);
  }

  /** As `readableIovecs`, for the device-writable bytes. */
  writableIovecs(table: Uint32Array, skip: number, limit: number = Number.POSITIVE_INFINITY, at = 0): number {
    return this.#iovecs(table, this.readableCount, this.count, skip, limit, at);
  }

  #iovecs(table: Uint32Array, first: number, end: number, skip: number, limit: number, at: number): number {
    const capacity = (table.length >>> 2) - at;
    let written = 0;
    let ahead = skip;
    let left = limit;
    for (let i = first; i < end && written < capacity && left > 0; i++) {
      const length = this.lengths[i] ?? 0;
      if (ahead >= length) {
        ahead -= length;
        continue;
      }
      const bytes = Math.min(length - ahead, left);
      setIovec(table, at + written++, (this.hvas[i] ?? 0) + ahead, bytes);
      left -= bytes;
      ahead = 0;
    }
    return written;
  }

  #locate(offset: number, first: number, end: number): number {
    let start = offset;
    for (let i = first; i < end && start >= 0; i++) {
      const length = this.lengths[i] ?? 0;
      if (start < length) return (this.gpas[i] ?? 0) + start;
      start -= length;
    }
    throw new RangeError(`offset ${offset} outside a descriptor chain`);
  }
}
