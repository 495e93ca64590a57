import { ConfigurationError, OptionError, UnsupportedError, ValidationError } from "../../../src/config/errors.ts";
import { OptionTextError } from "../../../src/config/grammar/errors.ts";
import { OPTIONS } from "../../../src/config/options.ts";
import { keysOf, type ObjectSchema, parseOption } from "../../../src/config/schema/object-schema.ts";
import { refuseUnsupportedConfig } from "../../../src/config/supported.ts";
import { validateVmConfig } from "../../../src/config/validate/validate.ts";
import { readVmConfig } from "../../../src/config/vm-config.ts";
import { parseApiSocket } from "../../../src/config/vmm-options.ts";
import { given } from "../../unit/config/command-line.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { tolerate } from "../support/tolerate.ts";

const schemas = OPTIONS.flatMap((option) =>
  "schema" in option ? [{ name: option.name, schema: option.schema as ObjectSchema }] : [],
);
const WORDS = [
  "on",
  "off",
  "true",
  "=",
  ",",
  "[",
  "]",
  "@",
  ":",
  "-",
  '"',
  '""',
  "18446744073709551615",
  "4294967296",
  "0x",
  "1G",
  "K",
  "[0-3]",
  "0@[0-1]",
  "1.2.3.4",
  "::1",
  "2e:00:00:00:00:01",
  "__proto__",
  "constructor",
  "tty",
  "file=",
  "socket=",
];

/** One option's text, or several options that make a whole VM. */
export const target: FuzzTarget = {
  what: "the texts of options, and the VM that they come to",
  maxBytes: 512,
  dictionary: [...WORDS, "\n", ...schemas.flatMap(({ schema }) => keysOf(schema).map(({ name }) => `${name}=`))],
  seeds: () =>
    schemas.map(({ schema }, i) =>
      Buffer.from([
        i,
        ...Buffer.from(
          keysOf(schema)
            .map(({ name }) => `${name}=1`)
            .join(","),
        ),
      ]),
    ),
  open: () => (input) => {
    const choice = input.below(schemas.length + 2);
    const option = schemas[choice];
    if (option !== undefined) tolerate([OptionTextError], () => parseOption(option.schema, input.text()));
    else if (choice === schemas.length) tolerate([OptionError], () => parseApiSocket(input.text()));
    else {
      const options = new Map<string, string[]>([["kernel", ["k"]]]);
      while (!input.isEmpty) {
        const { name } = schemas[input.below(schemas.length)] ?? { name: "disk" };
        const text = Buffer.from(input.take(input.u8())).toString("utf8");
        options.set(name, [...(options.get(name) ?? []), text]);
      }
      tolerate([ConfigurationError, ValidationError, UnsupportedError], () => {
        refuseUnsupportedConfig(
          validateVmConfig(readVmConfig(given(Object.fromEntries(options)), "x86_64").config).config,
        );
      });
    }
  },
};
