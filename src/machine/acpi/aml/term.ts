import { type ByteString, byte } from "../../byte-string.ts";

/** AML (ACPI 6.5 chapter 20): a term, or several in a row. Terms are values, composed by the functions of this folder. */
export type Term = ByteString;

/**
 * PkgLength (ACPI 6.5 section 20.2.4) in the fewest bytes.
 * @param value what it counts, which for a package includes the bytes of the PkgLength itself
 * @throws RangeError from 2^28 on
 */
export function pkgLength(value: number): Term {
  if (value < 1 << 6) return byte(value);
  const following = value < 1 << 12 ? 1 : value < 1 << 20 ? 2 : 3;
  if (value >= 1 << 28) throw new RangeError(`AML package of ${value} bytes`);
  let encoded: string = byte((following << 6) | (value & 0xf));
  for (let i = 0, rest = value >>> 4; i < following; i++, rest >>>= 8) encoded += byte(rest & 0xff);
  return encoded as Term;
}

/** `content` preceded by the PkgLength that counts both. */
export function sized(content: string): Term {
  const length = content.length;
  const prefix = length < (1 << 6) - 1 ? 1 : length < (1 << 12) - 2 ? 2 : length < (1 << 20) - 3 ? 3 : 4;
  return (pkgLength(length + prefix) + content) as Term;
}
