import { parseIp, parseMac } from "../grammar/addresses.ts";
import { Expected } from "../grammar/errors.ts";
import type { ValueParser } from "../grammar/given-keys.ts";
import {
  I32,
  type IntegerRange,
  parseBareInteger,
  parseInteger,
  parseIntegerList,
  parseSize,
  U8,
  U16,
  U32,
  U64,
  USIZE,
} from "../grammar/integers.ts";
import { parsePairs, parseStringList } from "../grammar/lists.ts";
import { parsePortForward, portForwardText } from "../grammar/port-forward.ts";
import { unquote } from "../grammar/text.ts";
import type { JsonForm, ReadableType, ValueType } from "./value-type.ts";

const MIB = 1 << 20;
const STRING: JsonForm = { kind: "string" };

export const string: ValueType<string> = { label: "<string>", json: STRING, parse: unquote, text: String };
export const path: ValueType<string> = { label: "<path>", json: STRING, parse: unquote, text: String };
/** A text that a parser puts in canonical form; in JSON it is the bare text, without the quotes that options allow. */
function canonicalText(label: string, parse: ValueParser<string>): ValueType<string> {
  const canonical = (text: string): string => {
    if (text.includes('"')) throw new Expected("a text without quotes");
    return parse(text);
  };
  return { label, json: { kind: "string", canonical }, parse, text: String };
}

export const ip = canonicalText("<ip>", parseIp);
export const mac = canonicalText("<mac>", parseMac);

/** `on`, `off`, `true` or `false` in any case, without quotes. */
export const bool: ValueType<boolean> = {
  label: "<on|off>",
  json: { kind: "boolean" },
  parse: (raw) => {
    const word = raw.toLowerCase();
    if (word === "on" || word === "true") return true;
    if (word === "off" || word === "false") return false;
    throw new Expected("on or off");
  },
  text: (value) => (value ? "on" : "off"),
};

type IntegerName = Extract<JsonForm, { kind: "integer" }>["type"];

function integer(type: IntegerName, range: IntegerRange): ValueType<number> {
  return { label: "<n>", json: { kind: "integer", type }, parse: (raw) => parseInteger(raw, range), text: String };
}

export const u8 = integer("u8", U8);
export const u16 = integer("u16", U16);
export const u32 = integer("u32", U32);
export const u64 = integer("u64", U64);

/** A type without 0. */
function nonZero(type: ValueType<number>, name: IntegerName): ValueType<number> {
  return {
    ...type,
    json: { kind: "integer", type: name, minimum: 1 },
    parse: (raw) => {
      const value = type.parse(raw);
      if (value === 0) throw new Expected("a number of at least 1");
      return value;
    },
  };
}

export const nonZeroU32 = nonZero(u32, "u32");
export const nonZeroU64 = nonZero(u64, "u64");
export const usize = integer("usize", USIZE);
export const i32 = integer("i32", I32);

/** Bytes; the unit of every size in a configuration. */
export const size: ValueType<number> = {
  label: "<size>",
  json: { kind: "integer", type: "u64" },
  parse: parseSize,
  text: (bytes) => (bytes !== 0 && bytes % MIB === 0 ? `${bytes / MIB}M` : String(bytes)),
};

const RANGES: Readonly<Record<IntegerName, IntegerRange>> = {
  u8: U8,
  u16: U16,
  u32: U32,
  u64: U64,
  usize: USIZE,
  i32: I32,
};

const BARE = { label: "<n>" };

/** A list of integers that are refused when out of their type's range. */
export function integerList(type: IntegerName): ValueType<readonly number[]> {
  return {
    label: "<[n,n-n]>",
    json: { kind: "array", items: { kind: "integer", type } },
    parse: (raw) => parseIntegerList(raw, RANGES[type], false),
    text: (list) => (list.length === 0 ? "none" : `[${list.join(",")}]`),
  };
}

/** A list of integers that, as in Cloud Hypervisor, are read as 64 bits and cut down to their type. */
export function truncatedList(type: IntegerName): ValueType<readonly number[]> {
  return { ...integerList(type), parse: (raw) => parseIntegerList(raw, RANGES[type], true) };
}

export const stringList: ValueType<readonly string[]> = {
  label: "<[string,string]>",
  json: { kind: "array", items: STRING },
  parse: parseStringList,
  text: (list) => (list.length === 0 ? "none" : `[${list.join(",")}]`),
};

const canonicalForward = (text: string): string => portForwardText(parsePortForward(text));

/** Ports of the host that lead to the guest, each in canonical form. */
export const portForwards: ReadableType<readonly string[]> = {
  label: "<[tcp|udp:[address:]port:guest_port]>",
  json: { kind: "array", items: { kind: "string", canonical: canonicalForward } },
  parse: (raw) => parseStringList(raw).map((text) => canonicalForward(text)),
};

/** The key of a pair that is read as 64 bits and cut down to its type; quotes allowed. */
export function truncatedKey(type: IntegerName): ReadableType<number> {
  return {
    ...BARE,
    json: { kind: "integer", type },
    parse: (raw) => parseBareInteger(unquote(raw), RANGES[type], true),
  };
}

/** The value of a pair: an integer, quotes not allowed. */
export function pairValue(type: IntegerName): ReadableType<number> {
  return { ...BARE, json: { kind: "integer", type }, parse: (raw) => parseBareInteger(raw, RANGES[type], false) };
}

/** The value of a pair that is read as 64 bits and cut down to its type; quotes not allowed. */
export function truncatedValue(type: IntegerName): ReadableType<number> {
  return { ...BARE, json: { kind: "integer", type }, parse: (raw) => parseBareInteger(raw, RANGES[type], true) };
}

/** Numbers in the lists of a map: a short text can name very many by ranges. */
const MAX_TOTAL = 1 << 20;

/** A list of `key@value` pairs, each made into an object of the REST API. */
export function pairs<K, V, T>(options: {
  readonly label: string;
  readonly json: JsonForm;
  readonly key: ReadableType<K>;
  readonly value: ReadableType<V>;
  readonly make: (key: K, value: V) => T;
}): ReadableType<readonly T[]> {
  return {
    label: options.label,
    json: { kind: "array", items: options.json },
    parse: (raw) => {
      let total = 0;
      const parseValue = (text: string): V => {
        const value = options.value.parse(text);
        total += Array.isArray(value) ? value.length : 1;
        if (total > MAX_TOTAL) throw new Expected(`at most ${MAX_TOTAL} numbers in all`);
        return value;
      };
      return parsePairs(raw, options.key.parse, parseValue).map(([key, value]) => options.make(key, value));
    },
  };
}

/**
 * One of a few words, quotes allowed.
 * @param words word of the command line → word of the REST API
 * @param mode `exact`: the case matters
 */
export function oneOf<const V extends string>(
  words: Readonly<Record<string, V>>,
  mode: "any-case" | "exact" = "any-case",
): ValueType<V> {
  const table: ReadonlyMap<string, V> = new Map(Object.entries(words));
  return {
    label: `<${Object.keys(words).join("|")}>`,
    json: { kind: "enum", values: Object.values(words) },
    parse: (raw) => {
      const word = unquote(raw);
      const value = table.get(mode === "exact" ? word : word.toLowerCase());
      if (value === undefined) throw new Expected(`one of ${Object.keys(words).join(", ")}`);
      return value;
    },
    text: (value) => Object.keys(words).find((word) => words[word] === value) ?? value,
  };
}
