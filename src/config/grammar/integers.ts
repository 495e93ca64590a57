import { Expected } from "./errors.ts";
import { unquote } from "./text.ts";

/** Range of an integer type. The limits of 64-bit types are the nearest doubles. */
export interface IntegerRange {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly bits: number;
}

const unsigned = (bits: number, name = `u${bits}`): IntegerRange => ({ name, min: 0, max: 2 ** bits - 1, bits });

export const U8 = unsigned(8);
export const U16 = unsigned(16);
export const U32 = unsigned(32);
export const U64 = unsigned(64);
export const USIZE = unsigned(64, "usize");
export const I32: IntegerRange = { name: "i32", min: -(2 ** 31), max: 2 ** 31 - 1, bits: 32 };

const U64_MAX = 2n ** 64n - 1n;
/** Digits that always fit in a double's 53 bits. */
const SAFE_DIGITS = 15;
/** Digits of 2^64 - 1. */
const U64_DIGITS = 20;

/**
 * A 64-bit number as a double: exact to 2^53, above that rounded towards zero, so that it stays in the range of 64 bits.
 */
function toDouble(value: bigint): number {
  const excess = BigInt(Math.max(0, value.toString(2).length - 53));
  return Number((value >> excess) << excess);
}

/** Digits, optionally after a `+`, as u64. @throws Expected */
function parseU64(text: string): bigint {
  if (!/^\+?\d+$/.test(text)) throw new Expected("a decimal number");
  const digits = text.replace(/^\+?0*(?=\d)/, "");
  const value = digits.length > U64_DIGITS ? U64_MAX + 1n : BigInt(digits);
  if (value > U64_MAX) throw new Expected("a number of at most 64 bits");
  return value;
}

/**
 * A decimal integer, quotes allowed: digits with an optional `+`, or `-` where the type is signed.
 * @throws Expected
 */
export function parseInteger(text: string, range: IntegerRange): number {
  const unquoted = unquote(text);
  const negative = range.min < 0 && unquoted.startsWith("-");
  const digits = negative ? unquoted.slice(1) : unquoted;
  if (negative && !/^\d/.test(digits)) throw new Expected("a decimal number");
  const magnitude =
    digits.length <= SAFE_DIGITS && /^\+?\d+$/.test(digits) ? Number(digits) : toDouble(parseU64(digits));
  const value = negative ? 0 - magnitude : magnitude;
  if (value < range.min || value > range.max)
    throw new Expected(`a number from ${range.min} to ${range.bits === 64 ? U64_MAX : range.max}`);
  return value;
}

const SUFFIX_BITS: Readonly<Record<string, number>> = { K: 10, M: 20, G: 30 };

/**
 * A size in bytes: a decimal number with an optional K, M or G (1024-based), quotes allowed. Of several suffixes the last
 * counts, and bits above the 64th are lost, both as Cloud Hypervisor does it.
 * @throws Expected
 */
export function parseSize(text: string): number {
  const unquoted = unquote(text);
  const shift = SUFFIX_BITS[unquoted.slice(-1)] ?? 0;
  let end = unquoted.length;
  while (SUFFIX_BITS[unquoted[end - 1] ?? ""] !== undefined) end--;
  const digits = unquoted.slice(0, end);
  if (!/^\+?\d+$/.test(digits)) throw new Expected("a size in bytes such as 536870912, 512M or 4G");
  const value = BigInt.asUintN(64, parseU64(digits) << BigInt(shift));
  return toDouble(value);
}

/**
 * A decimal number without quotes, as it stands in lists and maps.
 * @param truncate take any 64-bit number and keep its low bits, instead of refusing what is out of range
 * @throws Expected
 */
export function parseBareInteger(text: string, range: IntegerRange, truncate: boolean): number {
  return inRange(parseU64(text), range, truncate);
}

function inRange(value: bigint, range: IntegerRange, truncate: boolean): number {
  if (truncate) return toDouble(range.min < 0 ? BigInt.asIntN(range.bits, value) : BigInt.asUintN(range.bits, value));
  const number = toDouble(value);
  if (number > range.max) throw new Expected(`numbers from ${range.min} to ${range.max}`);
  return number;
}

/** The text between all brackets at its start and all at its end, in whatever order they stand. */
function withoutOuterBrackets(text: string): string {
  const isBracket = (index: number) => text[index] === "[" || text[index] === "]";
  let start = 0;
  let end = text.length;
  while (start < end && isBracket(start)) start++;
  while (end > start && isBracket(end - 1)) end--;
  return text.slice(start, end);
}

/** As many elements as there can be CPUs; enough for queues and descriptors, and few enough to hold thousands of lists. */
const MAX_LIST_LENGTH = 8192;

/**
 * A list of integers: `[1,3-5]`, or one number or range without brackets. Brackets at both ends are ignored, however many.
 * A range includes both ends. Quotes are not allowed.
 * @param truncate take any 64-bit number and keep its low bits, instead of refusing what is out of the element's range
 * @throws Expected
 */
export function parseIntegerList(text: string, range: IntegerRange, truncate: boolean): number[] {
  const list: number[] = [];
  for (const item of withoutOuterBrackets(text).split(",")) {
    const [first = "", last, ...rest] = item.split("-");
    if (rest.length > 0) throw new Expected("numbers and ranges such as [1,3-5]");
    const start = parseU64(first);
    const end = last === undefined ? start : parseU64(last);
    if (last !== undefined && start >= end) throw new Expected("ranges whose end is above their start");
    if (end - start >= BigInt(MAX_LIST_LENGTH - list.length))
      throw new Expected(`a list of at most ${MAX_LIST_LENGTH} numbers`);
    if (end <= BigInt(Math.min(range.max, Number.MAX_SAFE_INTEGER)))
      for (let value = Number(start); value <= Number(end); value++) list.push(value);
    else for (let value = start; value <= end; value++) list.push(inRange(value, range, truncate));
  }
  return list;
}
