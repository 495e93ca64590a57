import { hostArch } from "../arch.ts";
import { Expected } from "../grammar/errors.ts";
import { I32, type IntegerRange, U8, U16, U32, U64, USIZE } from "../grammar/integers.ts";
import type { ConfigOf, Member, Members, ObjectSchema } from "../schema/object-schema.ts";
import type { JsonForm } from "../schema/value-type.ts";
import { JsonError } from "./errors.ts";
import { JsonReader } from "./reader.ts";

type IntegerForm = Extract<JsonForm, { kind: "integer" }>;

const RANGES: Readonly<Record<IntegerForm["type"], IntegerRange>> = {
  u8: U8,
  u16: U16,
  u32: U32,
  u64: U64,
  usize: USIZE,
  i32: I32,
};

/** Digits that always fit in a double's 53 bits. */
const SAFE_DIGITS = 15;
const U64_MAX = 2n ** 64n - 1n;
/** Digits of 2^64 - 1: JSON has no leading zeros, so that a longer number is greater. */
const U64_DIGITS = 20;

/** A 64-bit number as a double: exact to 2^53, above that rounded towards zero, as on the command line. */
function toDouble(value: bigint): number {
  const excess = BigInt(Math.max(0, value.toString(2).length - 53));
  return Number((value >> excess) << excess);
}

/** A member as the decoder needs it. */
interface Slot {
  readonly name: string;
  readonly member: Member<unknown>;
  /** Its place among the members. */
  readonly index: number;
}

/** What decoding and printing an object needs of its schema, worked out once. */
export interface JsonPlan {
  /** The members that this build has, in the order in which they are printed. */
  readonly slots: readonly Slot[];
  /** The same by their names, older names included. */
  readonly byName: ReadonlyMap<string, Slot>;
  /** Members of features that this build lacks, which configuration objects have all the same, and their values. */
  readonly fixed: readonly (readonly [string, unknown])[];
}

const plans = new WeakMap<ObjectSchema, JsonPlan>();

/** The JSON side of a schema. Members of features that this build lacks and of other architectures do not exist in it. */
export function jsonPlan(schema: ObjectSchema): JsonPlan {
  let plan = plans.get(schema);
  if (plan === undefined) {
    const arch = hostArch();
    const members = Object.entries(schema.members);
    const slots = members
      .filter(([, { traits }]) => traits.feature === undefined && (traits.arch ?? arch) === arch)
      .map(([name, member], index) => ({ name, member, index }));
    const byName = new Map<string, Slot>();
    for (const slot of slots)
      for (const name of [slot.name, ...(slot.member.traits.aliases ?? [])]) byName.set(name, slot);
    const fixed = members.flatMap(([name, { traits, initial }]) =>
      traits.feature === undefined || initial === undefined ? [] : [[name, initial] as const],
    );
    plan = { slots, byName, fixed };
    plans.set(schema, plan);
  }
  return plan;
}

/** Whether JSON may say null for the member: where it can be unset. */
export function isNullable({ presence, initial }: Member<unknown>): boolean {
  return presence === "optional" && initial === undefined;
}

/** Whether JSON must give the member. */
export function isRequired({ presence, initial, traits }: Member<unknown>): boolean {
  return traits.required === true || (presence === "present" && initial === undefined);
}

function readInteger(reader: JsonReader, { type, minimum }: IntegerForm): number {
  const range = RANGES[type];
  const least = minimum ?? range.min;
  const most = range.bits === 64 ? U64_MAX : range.max;
  const expected = `an integer from ${least} to ${most}`;
  const at = reader.place;
  const digits = reader.number(expected);
  if (!/^(?:\d+|-[1-9]\d*)$/.test(digits)) return reader.unexpected(expected, at);
  if (digits.length > U64_DIGITS) return reader.unexpected(expected, at);
  if (digits.length > SAFE_DIGITS) {
    const exact = BigInt(digits);
    if (exact > BigInt(most) || exact < BigInt(least)) return reader.unexpected(expected, at);
    return toDouble(exact);
  }
  const value = Number(digits);
  return value >= least && value <= most ? value : reader.unexpected(expected, at);
}

function readText(reader: JsonReader, { canonical }: Extract<JsonForm, { kind: "string" }>): string {
  const at = reader.place;
  const text = reader.string();
  if (canonical === undefined) return text;
  try {
    return canonical(text);
  } catch (error) {
    if (error instanceof Expected) return reader.fail(`expected ${error.message}`, at);
    throw error;
  }
}

function readWord(reader: JsonReader, values: readonly string[]): string {
  const at = reader.place;
  const expected = `one of ${values.map((value) => `"${value}"`).join(", ")}`;
  const word = reader.string(expected);
  return values.includes(word)
    ? word
    : reader.fail(`expected ${expected}, found ${JSON.stringify(word.slice(0, 40))}`, at);
}

function readValue(reader: JsonReader, form: JsonForm): unknown {
  switch (form.kind) {
    case "string":
      return readText(reader, form);
    case "boolean":
      return reader.boolean();
    case "integer":
      return readInteger(reader, form);
    case "enum":
      return readWord(reader, form.values);
    case "array": {
      const list: unknown[] = [];
      reader.array(() => list.push(readValue(reader, form.items)));
      return list;
    }
    case "object":
      return readObject(reader, form.schema);
  }
}

function readObject(reader: JsonReader, schema: ObjectSchema): Readonly<Record<string, unknown>> {
  const { slots, byName, fixed } = jsonPlan(schema);
  const start = reader.place;
  const values: unknown[] = new Array(slots.length);
  const seen = new Array<boolean>(slots.length).fill(false);
  reader.object((name, at) => {
    const slot = byName.get(name);
    if (slot === undefined) {
      if (schema.closed)
        reader.fail(`${schema.name} has no member '${name}', but ${[...byName.keys()].join(", ")}`, at);
      reader.skip();
      return;
    }
    if (seen[slot.index]) reader.fail(`member '${slot.name}' is given twice`, at);
    seen[slot.index] = true;
    if (isNullable(slot.member) && reader.takeNull()) return;
    const value = readValue(reader, slot.member.json);
    if (!slot.member.traits.descriptor) values[slot.index] = value;
  }, `an object (${schema.name})`);
  const config: Record<string, unknown> = Object.fromEntries(fixed);
  for (const { name, member, index } of slots) {
    if (!seen[index] && isRequired(member)) reader.fail(`member '${name}' of ${schema.name} is missing`, start);
    const value = values[index] ?? member.initial;
    if (value !== undefined) config[name] = value;
  }
  return config;
}

/**
 * The configuration object that a JSON document describes, defaults filled in, not validated. Unknown members are ignored
 * where the schema is open. File descriptors are checked to be numbers and left out: those that count come beside the document.
 * @throws JsonError at the first thing that is wrong
 */
export function decodeJson<M extends Members>(schema: ObjectSchema<M>, text: string): ConfigOf<M> {
  const reader = new JsonReader(text);
  const config = readObject(reader, schema);
  reader.end();
  // `readObject` gives each member what its presence and form say, which is what `ConfigOf` states.
  return config as ConfigOf<M>;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** As `decodeJson`, from the bytes of a request. @throws JsonError */
export function decodeJsonBytes<M extends Members>(schema: ObjectSchema<M>, bytes: Uint8Array): ConfigOf<M> {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new JsonError("", "the document is not UTF-8", 1, 1);
  }
  return decodeJson(schema, text);
}
