import type { ByteString } from "./byte-string.ts";

/**
 * An append-only little-endian byte sequence in one growing buffer, for the tables a machine leaves in guest memory.
 * Appending is amortised constant time; numbers that do not fit their field are refused rather than truncated.
 */
export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  /** @param capacity bytes to reserve at first */
  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(Math.max(capacity, 16));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far, which is also the offset of the next one. */
  get length(): number {
    return this.#length;
  }

  /** What has been written, without a copy: later writes may or may not show in it. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** @throws RangeError when `value` is not an unsigned 8-bit integer */
  u8(value: number): void {
    if ((value & 0xff) !== value) throw notUnsigned(value, 8);
    const at = this.#length;
    if (at === this.#bytes.length) this.#grow(at + 1);
    this.#bytes[at] = value;
    this.#length = at + 1;
  }

  /** @throws RangeError when `value` is not an unsigned 16-bit integer */
  u16(value: number): void {
    if ((value & 0xffff) !== value) throw notUnsigned(value, 16);
    const at = this.#extend(2);
    this.#view.setUint16(at, value, true);
  }

  /** @throws RangeError when `value` is not an unsigned 32-bit integer */
  u32(value: number): void {
    if (value >>> 0 !== value) throw notUnsigned(value, 32);
    const at = this.#extend(4);
    this.#view.setUint32(at, value, true);
  }

  /** @throws RangeError when `value` is not an unsigned integer: as a number, one of at most 53 bits */
  u64(value: number | bigint): void {
    const at = this.#extend(8);
    this.setU64(at, value);
  }

  bytes(values: ArrayLike<number>): void {
    const at = this.#extend(values.length);
    this.#bytes.set(values, at);
  }

  /** The bytes of a byte string. */
  byteString(text: ByteString): void {
    const at = this.#extend(text.length);
    this.#bytes.set(Buffer.from(text, "latin1"), at);
  }

  zeros(count: number): void {
    const at = this.#extend(count);
    this.#bytes.fill(0, at, at + count);
  }

  /**
   * `text` in exactly `width` bytes, padded with `pad`.
   * @throws RangeError when the text is longer or not ASCII
   */
  ascii(text: string, width = text.length, pad = " "): void {
    if (text.length > width) throw new RangeError(`"${text}" is longer than its field of ${width} bytes`);
    const padded = text.padEnd(width, pad);
    const at = this.#extend(width);
    for (let i = 0; i < width; i++) {
      const code = padded.charCodeAt(i);
      if (code > 0x7f) throw new RangeError(`"${text}" is not ASCII`);
      this.#bytes[at + i] = code;
    }
  }

  /** Overwrites the byte at `at`. @throws RangeError as `u8` does, and for a place not yet written */
  setU8(at: number, value: number): void {
    if ((value & 0xff) !== value) throw notUnsigned(value, 8);
    this.#view.setUint8(this.#written(at, 1), value);
  }

  /** Overwrites the 16 bits at `at`. @throws RangeError likewise */
  setU16(at: number, value: number): void {
    if ((value & 0xffff) !== value) throw notUnsigned(value, 16);
    this.#view.setUint16(this.#written(at, 2), value, true);
  }

  /** Overwrites the 32 bits at `at`. @throws RangeError likewise */
  setU32(at: number, value: number): void {
    if (value >>> 0 !== value) throw notUnsigned(value, 32);
    this.#view.setUint32(this.#written(at, 4), value, true);
  }

  /** Overwrites the 64 bits at `at`. @throws RangeError likewise */
  setU64(at: number, value: number | bigint): void {
    this.#written(at, 8);
    if (typeof value === "bigint") {
      if (BigInt.asUintN(64, value) !== value) throw notUnsigned(value, 64);
      this.#view.setBigUint64(at, value, true);
      return;
    }
    if (!Number.isSafeInteger(value) || value < 0) throw notUnsigned(value, 53);
    this.#view.setUint32(at, value >>> 0, true);
    this.#view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
  }

  /**
   * The byte that makes the sum of [from, to), with this byte added, zero modulo 256. Sums four bytes at a step:
   * tables are summed while the machine starts, before anything is compiled.
   */
  checksum(from: number, to = this.#length): number {
    const bytes = this.#bytes;
    let sum = 0;
    let at = from;
    for (; at < to && at % 4 !== 0; at++) sum += bytes[at] ?? 0;
    const words = new Uint32Array(bytes.buffer, 0, bytes.length >>> 2);
    for (const end = to >>> 2; at < to - 3; ) {
      const blockEnd = Math.min(at / 4 + CHECKSUM_BLOCK_WORDS, end);
      let lanes = 0;
      for (let i = at / 4; i < blockEnd; i++) {
        const word = words[i] ?? 0;
        lanes += (word & 0xff00ff) + ((word >>> 8) & 0xff00ff);
      }
      sum += (lanes & 0xffff) + (lanes >>> 16);
      at = blockEnd * 4;
    }
    for (; at < to; at++) sum += bytes[at] ?? 0;
    return -sum & 0xff;
  }

  #written(at: number, size: number): number {
    if (at < 0 || at + size > this.#length) throw new RangeError(`[${at}, +${size}) of ${this.#length} bytes`);
    return at;
  }

  #extend(count: number): number {
    const at = this.#length;
    const end = at + count;
    if (end > this.#bytes.length) this.#grow(end);
    this.#length = end;
    return at;
  }

  #grow(needed: number): void {
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Words whose bytes, summed in two lanes of 16 bits, cannot overflow a lane. */
const CHECKSUM_BLOCK_WORDS = 128;

const notUnsigned = (value: number | bigint, bits: number): RangeError =>
  new RangeError(`${value} is not an unsigned integer of ${bits} bits`);
