import { OptionSyntaxError } from "./errors.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN = 0x5b;
const CLOSE = 0x5d;

/**
 * Splits text at a separator wherever it stands outside quotes and brackets. Quotes and brackets stay in the pieces, blanks
 * too. Always at least one piece.
 * @throws OptionSyntaxError when a quote or bracket is left open, or a bracket closes that was not opened
 */
export function splitOutside(text: string, separator: number): string[] {
  const pieces: string[] = [];
  let depth = 0;
  let quoted = false;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === QUOTE) quoted = !quoted;
    else if (quoted) continue;
    else if (char === OPEN) depth++;
    else if (char === CLOSE) {
      if (depth === 0) throw new OptionSyntaxError(text, "']' without '['");
      depth--;
    } else if (char === separator && depth === 0) {
      pieces.push(text.slice(start, i));
      start = i + 1;
    }
  }
  if (quoted) throw new OptionSyntaxError(text, "a '\"' is not closed");
  if (depth !== 0) throw new OptionSyntaxError(text, "a '[' is not closed");
  pieces.push(text.slice(start));
  return pieces;
}

/** `splitOutside` at commas. */
export function splitAtCommas(text: string): string[] {
  return splitOutside(text, COMMA);
}

/**
 * Drops the quote marks of a balanced text wherever they stand. A closing mark directly followed by an opening one stands
 * for a literal mark: `ab"c,d"e` is `abc,de`, `"x""y"` is `x"y`.
 */
export function unquote(text: string): string {
  if (!text.includes('"')) return text;
  let result = "";
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) !== QUOTE) result += text[i];
    else if (quoted && text.charCodeAt(i + 1) === QUOTE) {
      result += '"';
      i++;
    } else quoted = !quoted;
  }
  return result;
}
