/** The bytes of a run, read from front to back. Reads behind the end give zeros, so that every input is good for a whole run. */
export class Input {
  /** All of it. */
  readonly bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Whether all has been read. */
  get isEmpty(): boolean {
    return this.#at >= this.bytes.length;
  }

  u8(): number {
    return this.bytes[this.#at++] ?? 0;
  }

  u16(): number {
    return this.u8() | (this.u8() << 8);
  }

  u32(): number {
    return (this.u16() | (this.u16() << 16)) >>> 0;
  }

  /** 64 bits as a number, rounded beyond 2^53. */
  u64(): number {
    return this.u32() + this.u32() * 0x1_0000_0000;
  }

  bool(): boolean {
    return (this.u8() & 1) !== 0;
  }

  /** From 0 to `limit` - 1; `limit` is at least 1. */
  below(limit: number): number {
    const value = limit <= 0x100 ? this.u8() : limit <= 0x1_0000 ? this.u16() : this.u32();
    return value % limit;
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0];
  }

  /** Up to so many bytes. */
  take(length: number): Uint8Array {
    const from = Math.min(this.#at, this.bytes.length);
    const part = this.bytes.subarray(from, from + length);
    this.#at = from + part.length;
    return part;
  }

  /** What is left. */
  rest(): Uint8Array {
    return this.take(this.bytes.length);
  }

  /** What is left, as text; bytes that are no UTF-8 become U+FFFD. */
  text(): string {
    return new TextDecoder().decode(this.rest());
  }

  /**
   * A number as guests choose them when they mean harm: small ones, edges of the widths, bits, and anything.
   * @param bits at most 64
   */
  edge(bits: number): number {
    const limit = 2 ** bits;
    switch (this.u8() & 7) {
      case 0:
      case 1:
        return this.u8() % limit;
      case 2:
        return limit - 1 - (this.u8() % limit);
      case 3:
        return 2 ** (this.u8() % bits);
      case 4:
        return Math.max(0, 2 ** (this.u8() % bits) - 1);
      case 5:
        return this.u16() % limit;
      case 6:
        return this.u32() % limit;
      default:
        return Math.min(this.u64(), limit - 1);
    }
  }
}
