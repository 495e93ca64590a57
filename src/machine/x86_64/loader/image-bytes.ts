/** The bytes of a kernel image, in a file or in memory. */
export interface ImageBytes {
  readonly size: number;
  /** A copy or a view of [offset, offset + length), which must lie inside. */
  read(offset: number, length: number): Uint8Array;
}

/** An image in memory. */
export class ImageInMemory implements ImageBytes {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get size(): number {
    return this.#bytes.length;
  }

  read(offset: number, length: number): Uint8Array {
    return this.#bytes.subarray(offset, offset + length);
  }
}

/** Whether [offset, offset + length) lies inside the image. */
export const isInside = (image: ImageBytes, offset: number, length: number): boolean =>
  offset >= 0 && length >= 0 && offset <= image.size && length <= image.size - offset;

/**
 * The unsigned 64-bit value at `at` as a number: exact to 2^53, and larger than any address or size beyond.
 */
export const readU64 = (view: DataView, at: number): number =>
  view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;

/** A view of bytes that may lie anywhere in their buffer. */
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
