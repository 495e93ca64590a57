import { unfilterX86 } from "./bcj-x86.ts";
import { Lzma2Decoder } from "./lzma2.ts";
import { UnpackError } from "./unpack-error.ts";

/** .xz file format 1.1: magic bytes (section 2.1.1.1), sizes of the stream header and of what follows its magic. */
const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;
const STREAM_HEADER_BYTES = 12;
/** Section 2.1.1.2: the integrity checks that kernels' own decoder knows. */
const CHECK_NONE = 0;
const CHECK_CRC32 = 1;
/** Section 3.1.2. */
const FILTER_COUNT = 0x03;
const RESERVED_FLAGS = 0x3c;
const HAS_COMPRESSED_SIZE = 0x40;
const HAS_UNCOMPRESSED_SIZE = 0x80;
/** Sections 5.3.1 and 5.3.2. */
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;

/**
 * Unpacks the first .xz stream in `input`: blocks of LZMA2, with or without the x86 branch filter, as Linux builds use.
 * The index that follows the blocks is not read: it serves random access.
 * @param output filled exactly: its length is the unpacked size
 * @throws UnpackError
 */
export function unpackXz(input: Uint8Array, output: Uint8Array): void {
  const check = streamCheck(input);
  const decoder = new Lzma2Decoder(output);
  let from = STREAM_HEADER_BYTES;
  let to = 0;
  while (to < output.length) {
    const header = blockHeader(input, from);
    const dataEnd = decoder.unpack(input, header.dataStart, input.length);
    if (decoder.to === to) throw corrupt("an empty block", from);
    if (header.x86) unfilterX86(output, to, decoder.to);

    // Blocks are padded with zeros to a multiple of four bytes; the check follows (sections 3.3 and 3.4).
    from = header.dataStart + Math.ceil((dataEnd - header.dataStart) / 4) * 4;
    if (check === CHECK_CRC32) {
      if (input.length - from < 4) throw corrupt("the data ends early", from);
      if (Bun.hash.crc32(output.subarray(to, decoder.to)) !== u32(input, from))
        throw corrupt("a block's checksum differs", from);
      from += 4;
    }
    to = decoder.to;
  }
}

/** Section 2.1.1. @returns the kind of integrity check */
function streamCheck(input: Uint8Array): number {
  if (input.length < STREAM_HEADER_BYTES || MAGIC.some((byte, i) => input[i] !== byte)) throw corrupt("no stream", 0);
  if (Bun.hash.crc32(input.subarray(6, 8)) !== u32(input, 8)) throw corrupt("the stream header's checksum differs", 8);
  const check = input[7] ?? 0;
  if (input[6] !== 0 || (check !== CHECK_NONE && check !== CHECK_CRC32)) throw corrupt("an unknown integrity check", 6);
  return check;
}

/** Section 3.1. */
function blockHeader(input: Uint8Array, from: number): { dataStart: number; x86: boolean } {
  const size = ((input[from] ?? 0) + 1) * 4;
  if (size === 4) throw corrupt("fewer blocks than there should be", from);
  if (size > input.length - from) throw corrupt("the data ends early", from);
  const dataStart = from + size;
  const crcAt = dataStart - 4;
  if (Bun.hash.crc32(input.subarray(from, crcAt)) !== u32(input, crcAt))
    throw corrupt("a block header's checksum differs", crcAt);

  const flags = input[from + 1] ?? 0;
  if ((flags & RESERVED_FLAGS) !== 0) throw corrupt("unknown block flags", from + 1);
  let at = from + 2;
  if ((flags & HAS_COMPRESSED_SIZE) !== 0) at = afterInteger(input, at, crcAt);
  if ((flags & HAS_UNCOMPRESSED_SIZE) !== 0) at = afterInteger(input, at, crcAt);

  const filters = (flags & FILTER_COUNT) + 1;
  const x86 = filters === 2 && input[at] === FILTER_X86 && input[at + 1] === 0;
  if (x86) at += 2;
  if ((filters !== 1 && !x86) || input[at] !== FILTER_LZMA2 || input[at + 1] !== 1)
    throw corrupt("filters other than x86 and LZMA2", at);
  return { dataStart, x86 };
}

/** Passes over a variable-length integer (section 1.2). */
function afterInteger(input: Uint8Array, at: number, end: number): number {
  for (let i = at; i < end && i < at + 9; i++) if (((input[i] ?? 0) & 0x80) === 0) return i + 1;
  throw corrupt("an endless integer", at);
}

const u32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0;

const corrupt = (reason: string, offset: number): UnpackError => new UnpackError("xz", reason, offset);
