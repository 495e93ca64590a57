/** Probabilities have 11 bits and move by 1/32 of the way (LZMA specification, "Range decoder"). */
const PROBABILITY_BITS = 11;
const MOVE_BITS = 5;
const HALF = 1 << (PROBABILITY_BITS - 1);
const ONE = 1 << PROBABILITY_BITS;
/** The range is widened by a byte when it falls below 2^24. */
const TOP_BITS = 24;
/** Bytes that a decoder takes in before the first bit. */
export const RANGE_DECODER_START = 5;

/**
 * The binary range decoder of LZMA with its adaptive probabilities. `range` and `code` are unsigned 32-bit values held as
 * signed ones, which keeps them machine integers.
 *
 * Reading past the end of the input yields zeros: whoever drives the decoder bounds what it makes of them and compares `at`
 * with the end afterwards.
 */
export class RangeDecoder {
  readonly probabilities: Uint16Array;
  #input: Uint8Array = new Uint8Array(0);
  #range = -1;
  #code = 0;
  /** Where the next byte is taken from. */
  at = 0;

  /** @param probabilities how many there are */
  constructor(probabilities: number) {
    this.probabilities = new Uint16Array(probabilities);
  }

  resetProbabilities(): void {
    this.probabilities.fill(HALF);
  }

  /** Starts on the bytes at `at`. @returns whether they are a beginning */
  start(input: Uint8Array, at: number): boolean {
    this.#input = input;
    this.#range = -1;
    this.#code = 0;
    for (let i = 1; i < RANGE_DECODER_START; i++) this.#code = (this.#code << 8) | (input[at + i] ?? 0);
    this.at = at + RANGE_DECODER_START;
    return input[at] === 0;
  }

  /** Takes the byte that widening the range may still need. @returns whether nothing is left over, as it must be */
  finish(): boolean {
    if (this.#range >>> TOP_BITS === 0) {
      this.#range <<= 8;
      this.#code = (this.#code << 8) | (this.#input[this.at++] ?? 0);
    }
    return this.#code === 0;
  }

  /** The next bit, of adaptive probability `index`. */
  bit(index: number): number {
    const probabilities = this.probabilities;
    let range = this.#range;
    if (range >>> TOP_BITS === 0) {
      range <<= 8;
      this.#code = (this.#code << 8) | (this.#input[this.at++] ?? 0);
    }
    const probability = probabilities[index] ?? 0;
    const bound = Math.imul(range >>> PROBABILITY_BITS, probability);
    if (this.#code >>> 0 < bound >>> 0) {
      this.#range = bound;
      probabilities[index] = probability + ((ONE - probability) >>> MOVE_BITS);
      return 0;
    }
    this.#range = range - bound;
    this.#code = (this.#code - bound) | 0;
    probabilities[index] = probability - (probability >>> MOVE_BITS);
    return 1;
  }

  /** `count` bits, the highest first, each with a probability of its own that depends on those before it. */
  tree(base: number, count: number): number {
    let symbol = 1;
    for (let i = 0; i < count; i++) symbol = (symbol << 1) | this.bit(base + symbol);
    return symbol - (1 << count);
  }

  /** Likewise, the lowest first. */
  reverseTree(base: number, count: number): number {
    let node = 1;
    let symbol = 0;
    for (let i = 0; i < count; i++) {
      const bit = this.bit(base + node);
      node = (node << 1) | bit;
      symbol |= bit << i;
    }
    return symbol;
  }

  /** `count` bits without probabilities, as an unsigned number. */
  direct(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      if (this.#range >>> TOP_BITS === 0) {
        this.#range <<= 8;
        this.#code = (this.#code << 8) | (this.#input[this.at++] ?? 0);
      }
      this.#range >>>= 1;
      const below = this.#code >>> 0 < this.#range >>> 0;
      if (!below) this.#code = (this.#code - this.#range) | 0;
      value = (value << 1) | (below ? 0 : 1);
    }
    return value >>> 0;
  }
}
