import type { Random } from "../../unit/random.ts";

const INTERESTING: readonly [number, ...number[]] = [
  0, 1, 2, 4, 8, 16, 32, 64, 127, 128, 255, 256, 512, 1024, 4096, 32767, 32768, 65535, 65536, 0x7fff_ffff, 0x8000_0000,
  0xffff_ffff,
];

/** Makes new inputs of old ones. */
export class Mutator {
  readonly #random: Random;
  readonly #maxBytes: number;
  readonly #dictionary: readonly Uint8Array[];

  constructor(random: Random, maxBytes: number, dictionary: readonly Uint8Array[]) {
    this.#random = random;
    this.#maxBytes = maxBytes;
    this.#dictionary = dictionary;
  }

  /** Bytes out of nothing. */
  fresh(): Uint8Array {
    const random = this.#random;
    const bytes = new Uint8Array(random.below(1 + Math.min(this.#maxBytes, 1 << random.below(13))));
    random.fill(bytes);
    return bytes;
  }

  /** One to sixteen changes to a copy of `parent`. @param other to take pieces of */
  mutate(parent: Uint8Array, other: Uint8Array): Uint8Array {
    let bytes: Uint8Array = parent.slice();
    for (let changes = 1 << this.#random.below(5); changes > 0; changes--) bytes = this.#change(bytes, other);
    return bytes.length > this.#maxBytes ? bytes.slice(0, this.#maxBytes) : bytes;
  }

  #change(bytes: Uint8Array, other: Uint8Array): Uint8Array {
    const random = this.#random;
    const at = random.below(bytes.length + 1);
    switch (random.below(11)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
        return bytes;
      case 1:
        bytes[at] = random.below(256);
        return bytes;
      case 2:
        bytes[at] = (bytes[at] ?? 0) + random.below(33) - 16;
        return bytes;
      case 3:
        this.#setNumber(bytes, at);
        return bytes;
      case 4:
        return splice(bytes, at, 1 + random.below(1 << random.below(8)), new Uint8Array(0));
      case 5: {
        const piece = new Uint8Array(1 + random.below(1 << random.below(6)));
        if (random.below(2) === 0) random.fill(piece);
        else piece.fill(random.below(256));
        return splice(bytes, at, 0, piece);
      }
      case 6:
        return splice(bytes, at, 0, this.#pieceOf(bytes));
      case 7: {
        const piece = this.#pieceOf(other);
        return splice(bytes, at, random.below(2) === 0 ? 0 : piece.length, piece);
      }
      case 8:
      case 9: {
        const word = this.#dictionary[random.below(this.#dictionary.length)];
        if (word === undefined) return bytes;
        return splice(bytes, at, random.below(2) === 0 ? 0 : word.length, word);
      }
      default:
        return random.below(4) === 0 ? bytes.slice(0, at) : bytes;
    }
  }

  #pieceOf(bytes: Uint8Array): Uint8Array {
    const from = this.#random.below(bytes.length);
    return bytes.slice(from, from + 1 + this.#random.below(1 << this.#random.below(9)));
  }

  #setNumber(bytes: Uint8Array, at: number): void {
    const random = this.#random;
    const size = random.pick([1, 2, 4, 8]);
    if (at + size > bytes.length) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, size);
    const low = random.pick(INTERESTING) + (random.below(4) === 0 ? random.below(9) - 4 : 0);
    const little = random.below(2) === 0;
    if (size === 1) view.setUint8(0, low);
    else if (size === 2) view.setUint16(0, low, little);
    else if (size === 4) view.setUint32(0, low, little);
    else view.setBigUint64(0, BigInt.asUintN(64, BigInt(low) - (random.below(3) === 0 ? 0x100n : 0n)), little);
  }
}

/** A copy with `length` bytes at `at` replaced. */
function splice(bytes: Uint8Array, at: number, length: number, piece: Uint8Array): Uint8Array {
  const behind = Math.min(bytes.length, at + length);
  const result = new Uint8Array(at + piece.length + bytes.length - behind);
  result.set(bytes.subarray(0, at));
  result.set(piece, at);
  result.set(bytes.subarray(behind), at + piece.length);
  return result;
}
