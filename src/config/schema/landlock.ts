import { Expected } from "../grammar/errors.ts";
import { unquote } from "../grammar/text.ts";
import { type Config, objectSchema, required } from "./object-schema.ts";
import type { ReadableType } from "./value-type.ts";
import { path } from "./value-types.ts";

/** Which letters these are is for validation to say, since the REST API takes any string. */
const access: ReadableType<string> = {
  label: "<r|w|rw>",
  json: { kind: "string" },
  parse: (raw) => {
    const letters = unquote(raw);
    if (letters.length > 2) throw new Expected("at most two letters, r and w");
    return letters;
  },
};

export const landlockSchema = objectSchema("LandlockConfig", () => ({
  path: required(path, "file or directory, which must exist"),
  access: required(access, "what is allowed: r to read, w to write"),
}));
export type LandlockConfig = Config<typeof landlockSchema>;
