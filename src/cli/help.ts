import type { Arch } from "../config/arch.ts";
import { type OptionGroup, type OptionSpec, optionsOf } from "../config/options.ts";
import { type Key, keysOf } from "../config/schema/object-schema.ts";
import { unsupportedFeatures } from "../config/supported.ts";
import { buildVersion } from "./build-version.ts";

const GROUPS: readonly (readonly [OptionGroup, string])[] = [
  ["payload", "What to boot"],
  ["vm", "Virtual machine (needs something to boot)"],
  ["vmm", "VMM"],
  ["logging", "Logging"],
  ["general", "General"],
];

const UNSUPPORTED: ReadonlySet<string> = new Set(unsupportedFeatures());
const NOT_YET = "not supported by this version";

const MIN_COLUMNS = 40;
/** Lines longer than this are hard to read, however wide the terminal. */
const MAX_COLUMNS = 120;
const OPTION_INDENT = 2;
const KEY_INDENT = 6;
/** Where descriptions of keys begin, as far as the keys are short enough. */
const KEY_COLUMN = 38;
const OPTION_COLUMN = 30;

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  // A note in brackets is broken only when it does not fit on a line.
  const words = (text.match(/\[[^\]]*\]|\S+/g) ?? []).flatMap((word) =>
    word.length > width ? word.split(" ") : [word],
  );
  for (const word of words) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}

/** A term and its description: side by side where both fit, else the description below. */
function entry(term: string, doc: string, indent: number, column: number, columns: number): string {
  const left = `${" ".repeat(indent)}${term}`;
  const narrow = columns - column < MIN_COLUMNS;
  const start = narrow ? indent + 4 : column;
  const pad = " ".repeat(start);
  const [first = "", ...rest] = wrap(doc, Math.max(columns - start, MIN_COLUMNS / 2));
  const beside = !narrow && left.length + 2 <= column;
  const head = beside ? `${left.padEnd(column)}${first}` : `${left}\n${pad}${first}`;
  return [head, ...rest.map((line) => `${pad}${line}`)].join("\n");
}

function withNotes(doc: string, notes: readonly (string | false | undefined)[]): string {
  const given = notes.filter((note) => typeof note === "string");
  return given.length === 0 ? doc : `${doc} [${given.join(", ")}]`;
}

function keyEntry(option: OptionSpec, key: Key, columns: number): string {
  const notes = [
    UNSUPPORTED.has(`--${option.name} ${key.name}`) && NOT_YET,
    key.required && "required",
    key.defaultText !== undefined && `default: ${key.defaultText === "" ? "empty" : key.defaultText}`,
  ];
  const name = key.valueless ? key.name : `${key.name}=${key.label}`;
  return entry(name, withNotes(key.doc, notes), KEY_INDENT, KEY_COLUMN, columns);
}

function term(option: OptionSpec): string {
  const names = option.name.length === 1 ? `-${option.name}` : `--${option.name}`;
  const withShort = option.short === undefined ? names : `-${option.short}, ${names}`;
  const label = option.label ?? (option.schema && "<keys>") ?? option.choices?.join("|") ?? "";
  if (option.arity === "optional") return `${withShort} [${label}]`;
  if (option.arity === "many") return `${withShort} ${label}...`;
  return label === "" ? withShort : `${withShort} ${label}`;
}

function optionEntry(option: OptionSpec, columns: number): string {
  const notes = [
    UNSUPPORTED.has(`--${option.name}`) && NOT_YET,
    option.defaultText !== undefined && `default: ${option.defaultText}`,
  ];
  const keys = option.schema === undefined ? [] : keysOf(option.schema).filter((key) => !key.hidden && !key.replacedBy);
  return [
    entry(term(option), withNotes(option.doc, notes), OPTION_INDENT, OPTION_COLUMN, columns),
    ...keys.map((key) => keyEntry(option, key, columns)),
  ].join("\n");
}

const VALUES = `Values: <keys> is key=value,key=value and so on. <size> is a number of bytes, or with K, M or G of KiB, MiB or \
GiB. A value with commas or brackets in it is written in double quotes. Options marked with ... take several values and may \
be repeated.`;

/** All options with their keys and defaults. @param columns width of the terminal */
export function helpText(arch: Arch, columns: number): string {
  const width = Math.min(Math.max(columns, MIN_COLUMNS), MAX_COLUMNS);
  const options = optionsOf(arch);
  const sections = GROUPS.map(([group, title]) => {
    const entries = options.filter((option) => option.group === group).map((option) => optionEntry(option, width));
    return `${title}:\n${entries.join("\n")}`;
  });
  const head = [`cloud-hypervisor ${buildVersion}`, "Runs a virtual machine for a modern cloud workload."];
  return `${[head.join("\n"), "Usage: cloud-hypervisor [OPTIONS]\n       cloud-hypervisor disk --help  (disk images)", wrap(VALUES, width).join("\n"), ...sections].join("\n\n")}\n`;
}
