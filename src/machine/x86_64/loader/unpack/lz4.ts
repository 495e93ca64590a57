import { UnpackError } from "./unpack-error.ts";

/** LZ4 frame format, "Legacy frame": magic number, then blocks until the data ends. */
const LEGACY_MAGIC = 0x184c2102;
const BLOCK_BYTES = 8 << 20;
/** Matches are at least this long (LZ4 block format, "Sequences"). */
const MIN_MATCH = 4;
/** Copies from this length on are left to the engine's own memory copy. */
const BULK_COPY = 32;
/** Matches from this length on are worth several such copies. */
const LONG_RUN = 256;

/**
 * Unpacks an LZ4 legacy frame, which is what `lz4 -l` writes and Linux builds use.
 * @param output filled exactly: its length is the unpacked size
 * @throws UnpackError
 */
export function unpackLz4Legacy(input: Uint8Array, output: Uint8Array): void {
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  if (input.length < 4 || view.getUint32(0, true) !== LEGACY_MAGIC) throw new UnpackError("lz4", "no legacy frame", 0);
  let from = 4;
  let to = 0;
  while (to < output.length) {
    if (input.length - from < 4) throw new UnpackError("lz4", "the data ends early", from);
    const size = view.getUint32(from, true);
    from += 4;
    if (size > input.length - from) throw new UnpackError("lz4", `a block of ${size} bytes does not fit`, from - 4);
    const limit = Math.min(to + BLOCK_BYTES, output.length);
    const end = unpackBlock(input, from, from + size, output, to, limit);
    if (end === to) throw new UnpackError("lz4", "an empty block", from);
    from += size;
    to = end;
  }
}

/**
 * LZ4 block format: sequences of a token, literals, and a match in what this block has produced so far.
 * @returns where the output ends
 */
function unpackBlock(
  input: Uint8Array,
  start: number,
  end: number,
  output: Uint8Array,
  blockStart: number,
  limit: number,
): number {
  let from = start;
  let to = blockStart;
  while (from < end) {
    const token = input[from++] ?? 0;

    let literals = token >>> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= end) throw new UnpackError("lz4", "a literal length runs over its block", from);
        more = input[from++] ?? 0;
        literals += more;
      }
    }
    if (literals > end - from || literals > limit - to) throw new UnpackError("lz4", "literals do not fit", from);
    if (literals >= BULK_COPY) {
      output.set(input.subarray(from, from + literals), to);
      from += literals;
      to += literals;
    } else {
      for (const stop = from + literals; from < stop; ) output[to++] = input[from++] ?? 0;
    }
    if (from === end) break;

    if (end - from < 2) throw new UnpackError("lz4", "a match offset runs over its block", from);
    const distance = (input[from] ?? 0) | ((input[from + 1] ?? 0) << 8);
    from += 2;
    if (distance === 0 || distance > to - blockStart) throw new UnpackError("lz4", "a match before its block", from);
    let length = (token & 15) + MIN_MATCH;
    if (length === 15 + MIN_MATCH) {
      let more = 255;
      while (more === 255) {
        if (from >= end) throw new UnpackError("lz4", "a match length runs over its block", from);
        more = input[from++] ?? 0;
        length += more;
      }
    }
    if (length > limit - to) throw new UnpackError("lz4", "a match does not fit", from);
    if (length >= BULK_COPY && (distance >= length || length >= LONG_RUN)) {
      const match = to - distance;
      const stop = to + length;
      // The source grows with every copy, so that a run of one byte takes few copies as well.
      for (let step = distance; to < stop; to += step, step *= 2) {
        if (step > stop - to) step = stop - to;
        output.copyWithin(to, match, match + step);
      }
    } else {
      let match = to - distance;
      for (const stop = to + length; to < stop; ) output[to++] = output[match++] ?? 0;
    }
  }
  return to;
}
