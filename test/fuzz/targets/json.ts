import { ENDPOINTS } from "../../../src/api/rest/endpoints.ts";
import { decodeJson, decodeJsonBytes } from "../../../src/config/json/decode.ts";
import { encodeJson } from "../../../src/config/json/encode.ts";
import { JsonError } from "../../../src/config/json/errors.ts";
import type { ObjectSchema } from "../../../src/config/schema/object-schema.ts";
import { sampleObject } from "../../unit/config/json/corpus.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { tolerate } from "../support/tolerate.ts";

const schemas: readonly ObjectSchema[] = Object.values(ENDPOINTS).flatMap((endpoint) =>
  "schema" in endpoint ? [endpoint.schema as ObjectSchema] : [],
);

export const target: FuzzTarget = {
  what: "JSON documents of every object of the API; what is read is printed and read again",
  maxBytes: 4096,
  dictionary: [
    "null",
    "true",
    "false",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    "\\u0000",
    "\\ud800",
    "1e2",
    "-1",
    "18446744073709551616",
    "0.5",
    '"id":',
    '"disks":[',
    '"cpus":{',
  ],
  seeds: () => schemas.map((schema, i) => Buffer.concat([Uint8Array.of(i), Buffer.from(sampleObject(schema))])),
  open: () => (input) => {
    const schema = schemas[input.below(schemas.length)];
    if (schema === undefined) throw new RangeError("no schema");
    tolerate([JsonError], () => {
      const text = encodeJson(schema, decodeJsonBytes(schema, input.rest()));
      if (encodeJson(schema, decodeJson(schema, text)) !== text) throw new Error(`does not survive: ${text}`);
    });
  },
};
