import type { ValueParser } from "../grammar/given-keys.ts";
import type { ObjectSchema } from "./object-schema.ts";

/** The form of a value in a JSON document of the REST API. */
export type JsonForm =
  | {
      readonly kind: "string";
      /** Puts the text in canonical form. Throws `Expected`. */
      readonly canonical?: (text: string) => string;
    }
  | { readonly kind: "boolean" }
  | {
      readonly kind: "integer";
      readonly type: "u8" | "u16" | "u32" | "u64" | "usize" | "i32";
      /** The least that is accepted, where that is not the least of the type. */
      readonly minimum?: number;
    }
  | { readonly kind: "enum"; readonly values: readonly string[] }
  | { readonly kind: "array"; readonly items: JsonForm }
  | { readonly kind: "object"; readonly schema: ObjectSchema };

/** A type whose values can be read: how they are written in an option string and in JSON. */
export interface ReadableType<T> {
  /** What stands for a value in help: `<path>`, `<on|off>`. */
  readonly label: string;
  readonly json: JsonForm;
  readonly parse: ValueParser<T>;
}

/** A type whose values can also be a default that help shows. */
export interface ValueType<T> extends ReadableType<T> {
  /** The text that `parse` reads as this value. */
  readonly text: (value: T) => string;
}
