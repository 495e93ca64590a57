import { Expected } from "../grammar/errors.ts";
import type { GivenKeys } from "../grammar/given-keys.ts";
import { unquote } from "../grammar/text.ts";
import { type Config, composed, type Key, type Member, objectSchema } from "./object-schema.ts";
import { pciMembers } from "./pci-keys.ts";
import type { JsonForm, ReadableType } from "./value-type.ts";
import { path, u16 } from "./value-types.ts";

/** What a console is connected to, in the words of the REST API. */
export type ConsoleMode = "Off" | "Pty" | "Tty" | "File" | "Socket" | "Null";

/** Keys and the modes they mean. Of several keys given the first in this order counts. */
const MODES: readonly (Key & { readonly mode: ConsoleMode })[] = [
  { name: "off", mode: "Off", label: "", valueless: true, doc: "no such device" },
  { name: "pty", mode: "Pty", label: "", valueless: true, doc: "a new pseudo-terminal" },
  {
    name: "tty",
    mode: "Tty",
    label: "",
    valueless: true,
    doc: "the terminal: standard output, and input where that is a terminal",
  },
  { name: "null", mode: "Null", label: "", valueless: true, doc: "a device that drops all output" },
  { name: "file", mode: "File", label: path.label, doc: "a file, created or truncated" },
  { name: "socket", mode: "Socket", label: path.label, doc: "a listening UNIX socket" },
];

/** JSON knows all modes for every console, also those that only some can have. */
const MODE_FORM: JsonForm = { kind: "enum", values: MODES.map((key) => key.mode) };

function modeMembers(modes: readonly (Key & { readonly mode: ConsoleMode })[]) {
  /** A mode by its key alone, even an empty one: `file=` asks for a file and forgets which. */
  const modeOf = (given: GivenKeys) => modes.find((key) => given.has(key.name))?.mode;
  const pathOf = (mode: ConsoleMode, key: string): Member<string, "optional"> =>
    composed("optional", path.json, `path of mode ${mode}`, [], (given) =>
      modeOf(given) === mode ? given.required(key, path.parse) : undefined,
    );
  return {
    file: pathOf("File", "file"),
    mode: composed<ConsoleMode, "present">(
      "present",
      MODE_FORM,
      "what the console is connected to",
      modes,
      (given) => modeOf(given) ?? given.invalid(`no mode, expected one of: ${modes.map((key) => key.name).join(", ")}`),
    ),
    socket: pathOf("Socket", "socket"),
  };
}

const { file, mode, socket } = modeMembers(MODES);

export const serialSchema = objectSchema("SerialConfig", () => ({ file, mode, socket }));
export type SerialConfig = Config<typeof serialSchema>;

export const consoleSchema = objectSchema("ConsoleConfig", () => ({ ...pciMembers, file, mode, socket }));
export type ConsoleConfig = Config<typeof consoleSchema>;

const ioPort: ReadableType<number> = {
  label: "<0xn>",
  json: u16.json,
  parse: (raw) => {
    const text = unquote(raw);
    const port = /^0x[0-9a-fA-F]+$/.test(text) ? Number(text) : Number.NaN;
    if (!(port <= 0xffff)) throw new Expected("a hexadecimal port such as 0xe9, at most 0xffff");
    return port;
  },
};

const debugMode = modeMembers(MODES.filter((key) => key.mode !== "Socket"));

export const debugConsoleSchema = objectSchema("DebugConsoleConfig", () => ({
  file: debugMode.file,
  mode: debugMode.mode,
  iobase: composed<number, "optional">(
    "optional",
    u16.json,
    "I/O port",
    [{ name: "iobase", label: ioPort.label, doc: "I/O port", defaultText: "0xe9" }],
    (given) => given.value("iobase", ioPort.parse) ?? 0xe9,
  ),
}));
export type DebugConsoleConfig = Config<typeof debugConsoleSchema>;
