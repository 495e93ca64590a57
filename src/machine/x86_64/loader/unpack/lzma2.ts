import { RANGE_DECODER_START, RangeDecoder } from "./range-decoder.ts";
import { UnpackError } from "./unpack-error.ts";

/** Sizes of LZMA's model (LZMA specification, "LZMA decoder"). */
const STATES = 12;
const FIRST_REP_STATE = 7;
const POSITION_STATES = 16;
const LENGTH_STATES = 4;
const LITERAL_CODER = 0x300;
const MAX_LITERAL_BITS = 4;
const ALIGN_BITS = 4;
const FIRST_MODELLED_SLOT = 4;
const END_MODELLED_SLOT = 14;
const FULL_DISTANCES = 1 << (END_MODELLED_SLOT >> 1);
const MIN_MATCH = 2;

/** A length coder: two choices, a low and a middle tree per position state, one high tree. */
const LENGTH_LOW = 2;
const LENGTH_MID = LENGTH_LOW + (POSITION_STATES << 3);
const LENGTH_HIGH = LENGTH_MID + (POSITION_STATES << 3);
const LENGTH_CODER = LENGTH_HIGH + 256;

/** Where each set of probabilities starts. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POSITION_STATES;
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const SLOT = IS_REP0_LONG + STATES * POSITION_STATES;
const SPECIAL = SLOT + LENGTH_STATES * 64;
const ALIGN = SPECIAL + FULL_DISTANCES - END_MODELLED_SLOT + 1;
const MATCH_LENGTH = ALIGN + (1 << ALIGN_BITS);
const REP_LENGTH = MATCH_LENGTH + LENGTH_CODER;
const LITERAL = REP_LENGTH + LENGTH_CODER;
const PROBABILITIES = LITERAL + (LITERAL_CODER << MAX_LITERAL_BITS);

/** Matches from this length on are left to the engine's own memory copy. */
const BULK_COPY = 32;

/** Control bytes of an LZMA2 chunk (.xz file format 1.1, section 5.3.1; xz's lzma2_decoder). */
const END_OF_DATA = 0x00;
const UNCOMPRESSED_RESET = 0x01;
const UNCOMPRESSED = 0x02;
const LZMA = 0x80;
const RESET_STATE = 0xa0;
const RESET_PROPERTIES = 0xc0;
const RESET_DICTIONARY = 0xe0;

/** Unpacks LZMA2 streams one behind the other into a buffer, which is the dictionary as well. */
export class Lzma2Decoder {
  readonly #rc = new RangeDecoder(PROBABILITIES);
  readonly #output: Uint8Array;
  #to = 0;
  /** Matches reach back to here. */
  #dictionary = 0;
  #literalContextBits = 0;
  #literalPositionMask = 0;
  #positionMask = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;

  constructor(output: Uint8Array) {
    this.#output = output;
  }

  /** Where the output ends. */
  get to(): number {
    return this.#to;
  }

  /**
   * Unpacks the stream at `from`, which must end before `end`.
   * @returns where the stream ends
   * @throws UnpackError
   */
  unpack(input: Uint8Array, from: number, end: number): number {
    let needsDictionary = true;
    let needsProperties = true;
    let at = from;
    for (;;) {
      if (at >= end) throw corrupt("the data ends early", at);
      const control = input[at] ?? 0;
      if (control === END_OF_DATA) return at + 1;
      if (control > UNCOMPRESSED && control < LZMA) throw corrupt("an unknown kind of chunk", at);
      if (control === UNCOMPRESSED_RESET || control >= RESET_DICTIONARY) {
        needsDictionary = false;
        needsProperties = true;
        this.#dictionary = this.#to;
      }
      if (needsDictionary) throw corrupt("a chunk without a dictionary", at);

      const compressed = control >= LZMA;
      const header = compressed ? (control >= RESET_PROPERTIES ? 6 : 5) : 3;
      if (header > end - at) throw corrupt("the data ends early", at);
      const unpacked = ((compressed ? control & 0x1f : 0) << 16) + u16be(input, at + 1) + 1;
      if (unpacked > this.#output.length - this.#to) throw corrupt("more data than there should be", at);
      if (!compressed) {
        at += header;
        if (unpacked > end - at) throw corrupt("the data ends early", at);
        this.#output.set(input.subarray(at, at + unpacked), this.#to);
        this.#to += unpacked;
        at += unpacked;
        continue;
      }

      if (control >= RESET_PROPERTIES) {
        this.#setProperties(input[at + 5] ?? 0, at);
        needsProperties = false;
      }
      if (needsProperties) throw corrupt("a chunk without properties", at);
      if (control >= RESET_STATE) this.#resetState();
      const packed = u16be(input, at + 3) + 1;
      at += header;
      if (packed > end - at) throw corrupt("the data ends early", at);
      this.#unpackChunk(input, at, packed, unpacked);
      at += packed;
    }
  }

  #setProperties(properties: number, at: number): void {
    const literalContextBits = properties % 9;
    const literalPositionBits = Math.floor(properties / 9) % 5;
    const positionBits = Math.floor(properties / 45);
    if (positionBits > 4 || literalContextBits + literalPositionBits > MAX_LITERAL_BITS)
      throw corrupt("impossible properties", at);
    this.#literalContextBits = literalContextBits;
    this.#literalPositionMask = (1 << literalPositionBits) - 1;
    this.#positionMask = (1 << positionBits) - 1;
  }

  #resetState(): void {
    this.#rc.resetProbabilities();
    this.#state = 0;
    this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  #unpackChunk(input: Uint8Array, at: number, packed: number, unpacked: number): void {
    if (packed < RANGE_DECODER_START || !this.#rc.start(input, at)) throw corrupt("a bad chunk", at);
    this.#decode(this.#to + unpacked);
    if (!this.#rc.finish() || this.#rc.at !== at + packed) throw corrupt("a chunk of the wrong size", at);
  }

  /** Decodes until the output has grown to `limit`. */
  #decode(limit: number): void {
    const rc = this.#rc;
    const output = this.#output;
    const dictionary = this.#dictionary;
    const positionMask = this.#positionMask;
    let to = this.#to;
    let state = this.#state;
    let rep0 = this.#rep0;
    while (to < limit) {
      const position = (to - dictionary) & positionMask;
      if (rc.bit(IS_MATCH + (state << 4) + position) === 0) {
        output[to] = this.#literal(to, state, rep0);
        to++;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }

      let length: number;
      if (rc.bit(IS_REP + state) === 0) {
        this.#rep3 = this.#rep2;
        this.#rep2 = this.#rep1;
        this.#rep1 = rep0;
        length = this.#length(MATCH_LENGTH, position);
        rep0 = this.#distance(length);
        state = state < FIRST_REP_STATE ? 7 : 10;
      } else {
        if (rc.bit(IS_REP_G0 + state) === 0) {
          if (rc.bit(IS_REP0_LONG + (state << 4) + position) === 0) {
            if (rep0 >= to - dictionary) throw corrupt("a match before the data");
            output[to] = output[to - rep0 - 1] ?? 0;
            to++;
            state = state < FIRST_REP_STATE ? 9 : 11;
            continue;
          }
        } else {
          let distance: number;
          if (rc.bit(IS_REP_G1 + state) === 0) {
            distance = this.#rep1;
          } else {
            if (rc.bit(IS_REP_G2 + state) === 0) {
              distance = this.#rep2;
            } else {
              distance = this.#rep3;
              this.#rep3 = this.#rep2;
            }
            this.#rep2 = this.#rep1;
          }
          this.#rep1 = rep0;
          rep0 = distance;
        }
        length = this.#length(REP_LENGTH, position);
        state = state < FIRST_REP_STATE ? 8 : 11;
      }

      if (rep0 >= to - dictionary) throw corrupt("a match before the data");
      if (length > limit - to) throw corrupt("a match over the end of its chunk");
      let match = to - rep0 - 1;
      if (length >= BULK_COPY && rep0 >= length) {
        output.copyWithin(to, match, match + length);
        to += length;
      } else {
        for (const stop = to + length; to < stop; ) output[to++] = output[match++] ?? 0;
      }
    }
    this.#to = to;
    this.#state = state;
    this.#rep0 = rep0;
  }

  #literal(to: number, state: number, rep0: number): number {
    const rc = this.#rc;
    const done = to - this.#dictionary;
    const previous = done > 0 ? (this.#output[to - 1] ?? 0) : 0;
    const bits = this.#literalContextBits;
    const coder = ((done & this.#literalPositionMask) << bits) + (previous >>> (8 - bits));
    const base = LITERAL + Math.imul(LITERAL_CODER, coder);
    let symbol = 1;
    if (state >= FIRST_REP_STATE) {
      let match = this.#output[to - rep0 - 1] ?? 0;
      while (symbol < 0x100) {
        const expected = (match >>> 7) & 1;
        match <<= 1;
        const bit = rc.bit(base + ((1 + expected) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (bit !== expected) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | rc.bit(base + symbol);
    return symbol & 0xff;
  }

  #length(coder: number, position: number): number {
    const rc = this.#rc;
    if (rc.bit(coder) === 0) return MIN_MATCH + rc.tree(coder + LENGTH_LOW + (position << 3), 3);
    if (rc.bit(coder + 1) === 0) return MIN_MATCH + 8 + rc.tree(coder + LENGTH_MID + (position << 3), 3);
    return MIN_MATCH + 16 + rc.tree(coder + LENGTH_HIGH, 8);
  }

  /** The distance less one; LZMA2 has no end marker, whose value no dictionary holds. */
  #distance(length: number): number {
    const rc = this.#rc;
    const lengthState = Math.min(length - MIN_MATCH, LENGTH_STATES - 1);
    const slot = rc.tree(SLOT + (lengthState << 6), 6);
    if (slot < FIRST_MODELLED_SLOT) return slot;
    const bits = (slot >>> 1) - 1;
    const high = (2 | (slot & 1)) << bits;
    if (slot < END_MODELLED_SLOT) return high + rc.reverseTree(SPECIAL + high - slot, bits);
    const middle = rc.direct(bits - ALIGN_BITS) * (1 << ALIGN_BITS);
    return (high >>> 0) + middle + rc.reverseTree(ALIGN, ALIGN_BITS);
  }
}

const u16be = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

const corrupt = (reason: string, offset?: number): UnpackError => new UnpackError("xz", reason, offset);
