/** A UUID in none of the accepted forms. */
export class UuidError extends Error {
  override readonly name = "UuidError";
  constructor(text: string) {
    super(`"${text}" is not a UUID: write 32 hexadecimal digits, such as 123e4567-e89b-12d3-a456-426614174000`);
  }
}

/** Where each digit pair of a hyphenated UUID goes: its first three fields are stored little-endian. */
const BYTE_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
const HYPHENATED_LENGTH = 36;
const HYPHENS = [8, 13, 18, 23];

/**
 * The 16 bytes of a UUID in the mixed-endian order that ACPI (ToUUID, ACPI 6.5 section 19.6.142) and SMBIOS (3.7
 * section 7.2.1) share: the first three fields little-endian, the rest as written.
 * @param text hyphenated, without hyphens, in braces, or as `urn:uuid:`; any case
 * @throws UuidError
 */
export function mixedEndianUuid(text: string): Uint8Array {
  let digits = text;
  if (digits.startsWith("urn:uuid:")) digits = digits.slice("urn:uuid:".length);
  else if (digits.startsWith("{") && digits.endsWith("}")) digits = digits.slice(1, -1);
  const hyphenated = digits.length === HYPHENATED_LENGTH;
  if (!hyphenated && (digits.length !== 32 || digits !== text)) throw new UuidError(text);

  const bytes = new Uint8Array(16);
  let at = 0;
  for (const place of BYTE_ORDER) {
    if (hyphenated && HYPHENS.includes(at) && digits[at++] !== "-") throw new UuidError(text);
    const high = hexDigit(digits.charCodeAt(at++));
    const low = hexDigit(digits.charCodeAt(at++));
    if (high < 0 || low < 0) throw new UuidError(text);
    bytes[place] = (high << 4) | low;
  }
  return bytes;
}

/** The value of a hexadecimal digit by its character code, -1 for any other character. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}
