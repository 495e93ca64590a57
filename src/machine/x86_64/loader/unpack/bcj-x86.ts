const CALL_OR_JUMP = 0xe8;
const INSTRUCTION_BYTES = 5;

/**
 * Bit b of `recent` says that an E8 or E9 stood b + 1 bytes before. For its values: which byte of the operand, counted from the
 * last, decides whether this is a branch all the same; undefined where it never is.
 */
const DECIDING_BYTE = [0, 1, 2, undefined, 3, undefined, undefined, undefined] as const;

/** The top byte of a 32-bit displacement within 16 MiB. */
const isNear = (byte: number): boolean => byte === 0 || byte === 0xff;

/**
 * Undoes the x86 branch filter of .xz (format 1.1, section 5.3.2) in place: CALL and JMP operands, made absolute so that equal
 * targets compress, become relative again. The filter works on a whole block: [start, end), whose first byte is position 0.
 */
export function unfilterX86(bytes: Uint8Array, start: number, end: number): void {
  let recent = 0;
  let last = start - 1;
  for (let at = start; at <= end - INSTRUCTION_BYTES; at++) {
    if (((bytes[at] ?? 0) & 0xfe) !== CALL_OR_JUMP) continue;

    const gap = at - last;
    last = at;
    recent = gap > 3 ? 0 : (recent << (gap - 1)) & 7;
    const deciding = DECIDING_BYTE[recent];
    const pretends = deciding === undefined || (deciding > 0 && isNear(bytes[at + 4 - deciding] ?? 0));
    if (pretends || !isNear(bytes[at + 4] ?? 0)) {
      recent = (recent << 1) | 1;
      continue;
    }

    const operand =
      (bytes[at + 1] ?? 0) | ((bytes[at + 2] ?? 0) << 8) | ((bytes[at + 3] ?? 0) << 16) | ((bytes[at + 4] ?? 0) << 24);
    const relative = makeRelative(operand, at - start + INSTRUCTION_BYTES, deciding * 8);
    bytes[at + 1] = relative;
    bytes[at + 2] = relative >>> 8;
    bytes[at + 3] = relative >>> 16;
    // The operand has 25 bits, sign included.
    bytes[at + 4] = (relative & 0x100_0000) === 0 ? 0 : 0xff;
    at += INSTRUCTION_BYTES - 1;
  }
}

/** The encoder flips the low bits where its result looked like a displacement that the decoder would pass over. */
function makeRelative(operand: number, next: number, flipShift: number): number {
  let absolute = operand;
  for (;;) {
    const relative = (absolute - next) | 0;
    if (flipShift === 0 || !isNear((relative >>> (24 - flipShift)) & 0xff)) return relative;
    absolute = relative ^ (2 ** (32 - flipShift) - 1);
  }
}
