import { byte } from "../../byte-string.ts";
import type { Term } from "./term.ts";

const ROOT_CHAR = 0x5c;
const PARENT_PREFIX_CHAR = 0x5e;
const DUAL_NAME_PREFIX = "\x2e";
const MULTI_NAME_PREFIX = "\x2f";
const NULL_NAME = "\x00";

const UPPER_A = 0x41;
const UPPER_Z = 0x5a;
const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;
const UNDERSCORE = 0x5f;

/**
 * One NameSeg (ACPI 6.5 section 20.2.2): a letter or underscore, then up to three letters, digits or underscores, padded
 * with underscores.
 * @throws RangeError when `name` is none
 */
export function nameSeg(name: string): Term {
  let valid = name.length >= 1 && name.length <= 4;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    const letter = (code >= UPPER_A && code <= UPPER_Z) || code === UNDERSCORE;
    if (!letter && (i === 0 || code < DIGIT_0 || code > DIGIT_9)) valid = false;
  }
  if (!valid) throw new RangeError(`"${name}" is not an ACPI name segment`);
  return name.padEnd(4, "_") as Term;
}

/**
 * The object called `path`: its value, or the place a value is stored. A NameString (ACPI 6.5 section 20.2.2): segments
 * joined by ".", after "\" for the root or "^" for each parent, as in ASL.
 * @throws RangeError when `path` is none
 */
export function ref(path: string): Term {
  let start = 0;
  if (path.charCodeAt(0) === ROOT_CHAR) start = 1;
  else while (path.charCodeAt(start) === PARENT_PREFIX_CHAR) start++;
  if (start === 0 && path.length <= 4) return nameSeg(path);

  const prefix = path.slice(0, start);
  if (start === path.length) return (prefix + NULL_NAME) as Term;
  const segments = path.slice(start).split(".");
  let encoded = prefix;
  if (segments.length === 2) encoded += DUAL_NAME_PREFIX;
  else if (segments.length > 2) encoded += MULTI_NAME_PREFIX + byte(segments.length);
  for (const segment of segments) encoded += nameSeg(segment);
  return encoded as Term;
}
