import { asciiBytes, type ByteString, byte, bytesOf, dword, qword, word } from "../../byte-string.ts";
import { mixedEndianUuid } from "../../uuid.ts";
import { sized, type Term } from "./term.ts";

const ZERO_OP = "\x00" as Term;
const ONE_OP = "\x01" as Term;
const BYTE_PREFIX = "\x0a";
const WORD_PREFIX = "\x0b";
const DWORD_PREFIX = "\x0c";
const STRING_PREFIX = "\x0d";
const QWORD_PREFIX = "\x0e";
const BUFFER_OP = "\x11";
const PACKAGE_OP = "\x12";

/**
 * An integer constant in its shortest form (ACPI 6.5 section 20.2.3).
 * @throws RangeError when it is not an unsigned integer of 64 bits (53 as a number)
 */
export function integer(value: number | bigint): Term {
  if (typeof value === "bigint") return (QWORD_PREFIX + qword(value)) as Term;
  if (value === 0) return ZERO_OP;
  if (value === 1) return ONE_OP;
  if (value <= 0xff) return (BYTE_PREFIX + byte(value)) as Term;
  if (value <= 0xffff) return (WORD_PREFIX + word(value)) as Term;
  if (value <= 0xffff_ffff) return (DWORD_PREFIX + dword(value)) as Term;
  return (QWORD_PREFIX + qword(value)) as Term;
}

/** Where AML takes a value: a number is an integer constant. */
export type Operand = Term | number;

/** The term an operand stands for. */
export const termOf = (operand: Operand): Term => (typeof operand === "number" ? integer(operand) : operand);

/** The terms of operands in a row. */
export function termsOf(operands: readonly Operand[]): Term {
  let terms = "";
  for (const operand of operands) terms += typeof operand === "number" ? integer(operand) : operand;
  return terms as Term;
}

/** A string constant. @throws RangeError when it contains NUL or is not ASCII */
export function text(value: string): Term {
  if (value.includes("\0")) throw new RangeError(`AML string ${JSON.stringify(value)} contains NUL`);
  return `${STRING_PREFIX}${asciiBytes(value)}\0` as Term;
}

/** A buffer constant. */
export const buffer = (bytes: ByteString): Term => (BUFFER_OP + sized(integer(bytes.length) + bytes)) as Term;

/** A package of `count` elements, at most 255. */
export const packageOfEach = (count: number, elements: ByteString): Term =>
  (PACKAGE_OP + sized(byte(count) + elements)) as Term;

/** A package of at most 255 elements. */
export const packageOf = (...elements: readonly Operand[]): Term => packageOfEach(elements.length, termsOf(elements));

/**
 * EISAID(): a three-letter vendor and a product of four hexadecimal digits in 32 bits, big-endian (ACPI 6.5 section
 * 19.3.4).
 * @throws RangeError when `id` is none
 */
export function eisaId(id: string): Term {
  const digits = id.slice(3);
  const product = Number.parseInt(digits, 16);
  if (product.toString(16).toUpperCase().padStart(4, "0") !== digits) throw new RangeError(`"${id}" is not an EISA ID`);
  let vendor = 0;
  for (let i = 0; i < 3; i++) {
    const letter = id.charCodeAt(i) - 0x40;
    if (!(letter >= 1 && letter <= 26)) throw new RangeError(`"${id}" is not an EISA ID`);
    vendor = (vendor << 5) | letter;
  }
  return integer(swapBytes(product) * 0x1_0000 + swapBytes(vendor));
}

const swapBytes = (value: number): number => ((value & 0xff) << 8) | (value >>> 8);

/** ToUUID(): the buffer a UUID stands for (ACPI 6.5 section 19.6.142). @throws UuidError */
export const toUuid = (uuid: string): Term => buffer(bytesOf(mixedEndianUuid(uuid)));
