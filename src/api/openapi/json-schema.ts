import { isRequired, jsonPlan } from "../../config/json/decode.ts";
import type { Member, ObjectSchema } from "../../config/schema/object-schema.ts";
import type { JsonForm } from "../../config/schema/value-type.ts";

/** A value of the OpenAPI document. */
export type DocumentValue =
  | string
  | number
  | boolean
  | readonly DocumentValue[]
  | { readonly [name: string]: DocumentValue };

export type DocumentObject = { readonly [name: string]: DocumentValue };

/** Enums that have a name of their own, by their values. */
const ENUM_NAMES: Readonly<Record<string, string>> = {
  "Off,Pty,Tty,Null,File,Socket": "ConsoleMode",
  "Vm,Vcpu,Off": "CoreSchedulingMode",
  "Raw,Qcow2,FixedVhd,Vhdx,FlatVmdk,Unknown": "ImageType",
  "ByteRange,Full": "LockGranularity",
  "Copy,OnDemand": "MemoryRestoreMode",
  "Precopy,Postcopy": "MigrationMode",
  "Cancel,Ignore": "TimeoutStrategy",
};

const INTEGERS = {
  u8: { format: "int32", minimum: 0, maximum: 0xff },
  u16: { format: "int32", minimum: 0, maximum: 0xffff },
  u32: { format: "int64", minimum: 0, maximum: 0xffff_ffff },
  // OpenAPI has no format for 64 bits without a sign, and 2^64 - 1 is no number of JSON that all readers keep.
  u64: { format: "int64", minimum: 0 },
  usize: { format: "int64", minimum: 0 },
  i32: { format: "int32" },
} as const;

export const refTo = (name: string): DocumentObject => ({ $ref: `#/components/schemas/${name}` });

/** Schemas of the document, by name, as they are found to be needed. */
export class ComponentSchemas {
  readonly #schemas = new Map<string, DocumentObject>();

  /** All that were needed, in the order in which they were met. */
  get all(): DocumentObject {
    return Object.fromEntries(this.#schemas);
  }

  /** Adds a schema that nothing in the configuration describes. */
  add(name: string, schema: DocumentObject): void {
    this.#schemas.set(name, schema);
  }

  /** A reference to an object's schema, which is added with all that it needs. */
  object(schema: ObjectSchema): DocumentObject {
    if (!this.#schemas.has(schema.name)) {
      this.#schemas.set(schema.name, {});
      this.#schemas.set(schema.name, this.#objectSchema(schema));
    }
    return refTo(schema.name);
  }

  #objectSchema(schema: ObjectSchema): DocumentObject {
    const slots = jsonPlan(schema).slots.filter(({ member }) => !member.traits.undocumented);
    const required = slots.filter(({ member }) => isRequired(member)).map(({ name }) => name);
    const properties = slots.flatMap(({ name, member }) => {
      const aliases = (member.traits.aliases ?? []).map(
        (alias) =>
          [alias, { ...this.#member(member), description: `older name of ${name}`, deprecated: true }] as const,
      );
      return [[name, this.#member(member)] as const, ...aliases];
    });
    return {
      type: "object",
      ...(required.length > 0 && { required }),
      properties: Object.fromEntries(properties),
      ...(schema.closed && { additionalProperties: false }),
    };
  }

  #member(member: Member<unknown>): DocumentObject {
    const { json, doc, initial } = member;
    const isPlain = typeof initial === "string" || typeof initial === "number" || typeof initial === "boolean";
    const defaultValue: DocumentObject = isPlain && !isRequired(member) ? { default: initial } : {};
    const schema = this.#form(json, defaultValue);
    // Beside a reference nothing else counts (OpenAPI 3.0.3, Reference Object).
    if ("$ref" in schema) return schema;
    return { ...schema, description: doc, ...defaultValue };
  }

  /** @param defaultValue the default of an enum, which is part of its named schema: no two members have another */
  #form(form: JsonForm, defaultValue: DocumentObject = {}): DocumentObject {
    switch (form.kind) {
      case "string":
      case "boolean":
        return { type: form.kind };
      case "integer":
        return {
          type: "integer",
          ...INTEGERS[form.type],
          ...(form.minimum !== undefined && { minimum: form.minimum }),
        };
      case "array":
        return { type: "array", items: this.#form(form.items) };
      case "object":
        return this.object(form.schema);
      case "enum": {
        const name = ENUM_NAMES[form.values.join(",")];
        if (name === undefined) return { type: "string", enum: form.values };
        this.#schemas.set(name, { type: "string", enum: form.values, ...defaultValue });
        return refTo(name);
      }
    }
  }
}
