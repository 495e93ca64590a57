/**
 * Bytes as a string of characters 0 to 255. Concatenating two is constant time and leaves both as they were, and the
 * length of a whole is known before its first byte is copied: what nested, length-prefixed formats are built from.
 */
export type ByteString = string & { readonly __brand: "bytes" };

const notUnsigned = (value: number | bigint, bits: number): RangeError =>
  new RangeError(`${value} is not an unsigned integer of ${bits} bits`);

/** @throws RangeError when `value` is not an unsigned 8-bit integer */
export function byte(value: number): ByteString {
  if ((value & 0xff) !== value) throw notUnsigned(value, 8);
  return String.fromCharCode(value) as ByteString;
}

/** Little-endian. @throws RangeError when `value` is not an unsigned 16-bit integer */
export function word(value: number): ByteString {
  if ((value & 0xffff) !== value) throw notUnsigned(value, 16);
  return String.fromCharCode(value & 0xff, value >>> 8) as ByteString;
}

/** Little-endian. @throws RangeError when `value` is not an unsigned 32-bit integer */
export function dword(value: number): ByteString {
  if (value >>> 0 !== value) throw notUnsigned(value, 32);
  return String.fromCharCode(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24) as ByteString;
}

/** Little-endian. @throws RangeError when `value` is not an unsigned integer: as a number, one of at most 53 bits */
export function qword(value: number | bigint): ByteString {
  if (typeof value === "bigint") {
    if (BigInt.asUintN(64, value) !== value) throw notUnsigned(value, 64);
    return (dword(Number(value & 0xffff_ffffn)) + dword(Number(value >> 32n))) as ByteString;
  }
  if (!Number.isSafeInteger(value) || value < 0) throw notUnsigned(value, 53);
  return (dword(value >>> 0) + dword(Math.floor(value / 0x1_0000_0000))) as ByteString;
}

/** The bytes of an array. @throws RangeError when one is not an unsigned 8-bit integer */
export function bytesOf(values: ArrayLike<number>): ByteString {
  let bytes = "";
  for (let i = 0; i < values.length; i++) bytes += byte(values[i] ?? 0);
  return bytes as ByteString;
}

/** The characters of a text. @throws RangeError when it is not ASCII */
export function asciiBytes(text: string): ByteString {
  for (let i = 0; i < text.length; i++)
    if (text.charCodeAt(i) > 0x7f) throw new RangeError(`${JSON.stringify(text)} is not ASCII`);
  return text as ByteString;
}

/** All parts in a row. */
export function concat(parts: readonly ByteString[]): ByteString {
  let whole = "";
  for (const part of parts) whole += part;
  return whole as ByteString;
}

/** What `partFor` makes of 0 to `count` - 1, in a row. */
export function concatEach(count: number, partFor: (index: number) => ByteString): ByteString {
  let whole = "";
  for (let index = 0; index < count; index++) whole += partFor(index);
  return whole as ByteString;
}
