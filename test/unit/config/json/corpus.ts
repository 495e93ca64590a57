import { Expected } from "../../../../src/config/grammar/errors.ts";
import { isNullable, isRequired, jsonPlan } from "../../../../src/config/json/decode.ts";
import type { ObjectSchema } from "../../../../src/config/schema/object-schema.ts";
import type { JsonForm } from "../../../../src/config/schema/value-type.ts";

/** A JSON value as text, so that what no JavaScript value can say (a repeated member, 1.0) can be said. */
type Text = string;

/** A valid value of a form. */
export function sample(form: JsonForm): Text {
  switch (form.kind) {
    case "string":
      return form.canonical === undefined ? '"text"' : canonicalSample(form.canonical);
    case "boolean":
      return "true";
    case "integer":
      return "7";
    case "enum":
      return JSON.stringify(form.values[0]);
    case "array":
      return `[${sample(form.items)}]`;
    case "object":
      return sampleObject(form.schema);
  }
}

function canonicalSample(canonical: (text: string) => string): Text {
  for (const text of ["10.0.0.1", "2e:89:a8:e4:92:4d", "tcp:127.0.0.1:8080:80"]) {
    try {
      return JSON.stringify(canonical(text));
    } catch (error) {
      // A text of another kind.
      if (!(error instanceof Expected)) throw error;
    }
  }
  throw new Error("no sample of this text");
}

/** Every member, each with a valid value. */
export function sampleObject(schema: ObjectSchema): Text {
  const members = jsonPlan(schema).slots.map(({ name, member }) => `"${name}":${sample(member.json)}`);
  return `{${members.join(",")}}`;
}

/** A document that must be refused, and the member that the refusal must name. */
export interface BadDocument {
  readonly text: Text;
  readonly path: string;
  readonly why: string;
}

const LIMITS = {
  u8: ["-1", "256"],
  u16: ["-1", "65536"],
  u32: ["-1", "4294967296"],
  u64: ["-1", "18446744073709551616", "99999999999999999999999"],
  usize: ["-1", "18446744073709551616"],
  i32: ["-2147483649", "2147483648"],
} as const;

/** Values that a form refuses. */
function badValues(form: JsonForm): readonly Text[] {
  switch (form.kind) {
    case "string":
      return ["1", "true", "{}", '["text"]', ...(form.canonical === undefined ? [] : ['"nonsense"', '"\\"::1\\""'])];
    case "boolean":
      return ["0", '"true"', '"on"', "[]"];
    case "integer":
      return [
        ...LIMITS[form.type],
        ...(form.minimum === undefined ? [] : [String(form.minimum - 1)]),
        ...["1.0", "1e2", "-0", '"1"', "true", "[1]"],
      ];
    case "enum":
      return ['"nonsense"', '""', `"${String(form.values[0]).toLowerCase()}x"`, "1"];
    case "array":
      return ["{}", '"text"', "1"];
    case "object":
      return ["[]", '"text"', "1"];
  }
}

/** The sample of `schema` with other text for one member; undefined leaves it out. */
function variant(schema: ObjectSchema, changed: string, value: Text | undefined): Text {
  const members = jsonPlan(schema).slots.flatMap(({ name, member }) => {
    const text = name === changed ? value : sample(member.json);
    return text === undefined ? [] : [`"${name}":${text}`];
  });
  return `{${members.join(",")}}`;
}

/** For every member at every depth: each kind of wrong value, null, absence and repetition, as far as they are wrong. */
export function* badDocuments(schema: ObjectSchema): Generator<BadDocument> {
  for (const { name, member } of jsonPlan(schema).slots) {
    const { json: form } = member;
    const bad = isNullable(member) ? badValues(form) : [...badValues(form), "null"];
    for (const value of bad) yield { text: variant(schema, name, value), path: name, why: value };
    if (isRequired(member)) yield { text: variant(schema, name, undefined), path: name, why: "missing" };
    yield { text: `${sampleObject(schema).slice(0, -1)},"${name}":${sample(form)}}`, path: name, why: "twice" };
    for (const alias of member.traits.aliases ?? [])
      yield { text: `{"${name}":${sample(form)},"${alias}":${sample(form)}}`, path: name, why: "twice by its alias" };
    if (form.kind === "array")
      for (const { text, path, why } of badElements(form.items, name))
        yield { text: variant(schema, name, text), path, why };
    if (form.kind === "object")
      for (const inner of badDocuments(form.schema))
        yield { text: variant(schema, name, inner.text), path: `${name}.${inner.path}`, why: inner.why };
  }
}

function* badElements(items: JsonForm, name: string): Generator<BadDocument> {
  for (const value of [...badValues(items), "null"])
    yield { text: `[${sample(items)},${value}]`, path: `${name}[1]`, why: value };
  if (items.kind === "object")
    for (const inner of badDocuments(items.schema))
      yield { text: `[${inner.text}]`, path: `${name}[0].${inner.path}`, why: inner.why };
}
