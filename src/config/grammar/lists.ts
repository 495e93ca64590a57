import { Expected, OptionSyntaxError } from "./errors.ts";
import { splitAtCommas, splitOutside, unquote } from "./text.ts";

const AT = 0x40;

/** Splits what stands between brackets; out of balance there is a wrong value, not wrong syntax of the whole option. */
function splitInner(text: string, separator?: number): string[] {
  try {
    return separator === undefined ? splitAtCommas(text) : splitOutside(text, separator);
  } catch (error) {
    if (error instanceof OptionSyntaxError) throw new Expected("brackets and quotes in balance");
    throw error;
  }
}

/**
 * A list of strings: `[a,b]`, or one element without brackets. Elements keep their quotes and may be empty; blanks next to
 * the outer brackets are dropped.
 * @throws Expected
 */
export function parseStringList(text: string): string[] {
  const bracketed = text.startsWith("[") && text.endsWith("]");
  const inner = bracketed ? text.slice(1, -1).trim() : text;
  if (inner.startsWith("[") || inner.endsWith("]")) throw new Expected("a list such as [a,b], without inner brackets");
  return splitInner(inner);
}

/**
 * A list of pairs: `[key@value,key@value]`, brackets mandatory. What quotes mean is left to the parsers of key and value.
 * @throws Expected
 */
export function parsePairs<K, V>(
  text: string,
  parseKey: (text: string) => K,
  parseValue: (text: string) => V,
): (readonly [K, V])[] {
  const expected = "a list such as [key@value,key@value]";
  if (!text.startsWith("[") || !text.endsWith("]")) throw new Expected(`${expected}, in brackets`);
  return splitInner(text.slice(1, -1)).map((element) => {
    const [rawKey = "", value, ...rest] = splitInner(element.trim(), AT);
    if (unquote(rawKey) === "" || value === undefined || rest.length > 0) throw new Expected(expected);
    return [parseKey(rawKey), parseValue(value)];
  });
}
