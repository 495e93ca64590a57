import { type Pointer, toArrayBuffer } from "bun:ffi";

/**
 * A range of this process's memory seen from JavaScript: the same bytes through every integer width. The range is
 * mapped memory (an arena, guest RAM, a kernel ring), never storage owned by the garbage collector, so its address may
 * be handed to the kernel and to other threads.
 *
 * 16-, 32- and 64-bit arrays index from `address`, which must therefore be 8-byte aligned.
 */
export class MemoryBlock {
  readonly address: number;
  readonly size: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly view: DataView;

  /**
   * @param address start, a multiple of 8, in mapped memory that outlives this object
   * @param size bytes, at most 4 GiB (the largest ArrayBuffer Bun makes)
   * @throws RangeError on a null or misaligned address or a size out of range
   */
  constructor(address: number, size: number) {
    if (!Number.isSafeInteger(address) || address <= 0 || address % 8 !== 0)
      throw new RangeError(`memory block at unusable address 0x${address.toString(16)}`);
    if (!Number.isSafeInteger(size) || size <= 0 || size > 0x1_0000_0000)
      throw new RangeError(`memory block of ${size} bytes`);
    const buffer = toArrayBuffer(address as Pointer, 0, size);
    this.address = address;
    this.size = size;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer, 0, Math.floor(size / 2));
    this.u32 = new Uint32Array(buffer, 0, Math.floor(size / 4));
    this.i32 = new Int32Array(buffer, 0, Math.floor(size / 4));
    this.view = new DataView(buffer);
  }

  /**
   * The block's part [offset, offset + size).
   * @throws RangeError when the part is not inside the block
   */
  sub(offset: number, size: number): MemoryBlock {
    if (offset < 0 || size < 0 || offset + size > this.size)
      throw new RangeError(`part [${offset}, +${size}) of a block of ${this.size} bytes`);
    return new MemoryBlock(this.address + offset, size);
  }
}
