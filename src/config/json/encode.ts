import type { ConfigOf, Members, ObjectSchema } from "../schema/object-schema.ts";
import type { JsonForm } from "../schema/value-type.ts";
import { jsonPlan } from "./decode.ts";

/** An integer of up to 64 bits in decimal, never in exponent form. */
export function integerText(value: number | bigint): string {
  return typeof value === "bigint" || Number.isSafeInteger(value) ? String(value) : String(BigInt(value));
}

const NON_ASCII = /[\u007f-\uffff]/g;

/** A string in JSON, all of it in ASCII: a client that reads in pieces never meets half a character. */
export function stringText(value: string): string {
  return JSON.stringify(value).replace(NON_ASCII, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A value of a form that the schema gives; its type is therefore what the form says. */
function valueText(form: JsonForm, value: unknown): string {
  switch (form.kind) {
    case "string":
    case "enum":
      return stringText(String(value));
    case "boolean":
      return value === true ? "true" : "false";
    case "integer":
      return integerText(Number(value));
    case "array":
      return Array.isArray(value) ? `[${value.map((element) => valueText(form.items, element)).join(",")}]` : "[]";
    case "object":
      return objectText(form.schema, Object(value));
  }
}

/** Nobody else can do anything with the number of a descriptor of ours. */
const withoutNumbers = (value: unknown): unknown => (Array.isArray(value) ? value.map(() => -1) : -1);

function objectText(schema: ObjectSchema, config: Readonly<Record<string, unknown>>): string {
  const parts: string[] = [];
  for (const { name, member } of jsonPlan(schema).slots) {
    const value = config[name];
    const { printNull, omitFalse, descriptor } = member.traits;
    if (value === undefined) {
      if (printNull) parts.push(`"${name}":null`);
    } else if (!(omitFalse && value === false)) {
      const shown = descriptor ? withoutNumbers(value) : value;
      parts.push(`"${name}":${valueText(member.json, shown)}`);
    }
  }
  return `{${parts.join(",")}}`;
}

/** A configuration object as one line of compact JSON, in ASCII, its members in the order of the schema. */
export function encodeJson<M extends Members>(schema: ObjectSchema<M>, config: ConfigOf<M>): string {
  return objectText(schema, config);
}

/** What `plainJson` prints: JSON values, with integers of up to 64 bits and members that may be unset. */
export type PlainJson =
  | string
  | number
  | bigint
  | boolean
  | null
  | readonly PlainJson[]
  | { readonly [name: string]: PlainJson | undefined };

/** A value without a schema as one line of compact JSON in ASCII; unset members are left out. */
export function plainJson(value: PlainJson): string {
  if (typeof value === "string") return stringText(value);
  if (typeof value === "number" || typeof value === "bigint") return integerText(value);
  if (typeof value === "boolean" || value === null) return String(value);
  if (isList(value)) return `[${value.map(plainJson).join(",")}]`;
  const parts = Object.entries(value).flatMap(([name, member]) =>
    member === undefined ? [] : [`${stringText(name)}:${plainJson(member)}`],
  );
  return `{${parts.join(",")}}`;
}

function isList(value: object): value is readonly PlainJson[] {
  return Array.isArray(value);
}
