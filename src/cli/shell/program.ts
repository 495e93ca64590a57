import { hostArch } from "../../config/arch.ts";
import { type OptionSpec, optionsOf } from "../../config/options.ts";
import { type Key, keysOf, type ObjectSchema } from "../../config/schema/object-schema.ts";
import { COMMANDS, type Command } from "../ch-remote/commands.ts";
import { DISK_COMMANDS, type DiskCommand, type DiskOperand, type DiskOption } from "../disk/commands.ts";

/** What an option or an argument takes. */
export interface ValueModel {
  /** As help shows it. */
  readonly label: string;
  /** Words it can be; none when it can be anything. */
  readonly choices: readonly string[];
  readonly keys: readonly KeyModel[];
  readonly many: boolean;
  readonly optional: boolean;
}

/** A key of a value like `key=value,key=value`. */
export interface KeyModel {
  readonly name: string;
  readonly doc: string;
  /** As help shows it; empty for a key without a value. */
  readonly label: string;
  /** Words its value can be; none when it can be anything. */
  readonly choices: readonly string[];
  readonly defaultText: string | undefined;
}

export interface OptionModel {
  /** With their dashes, the long one last. */
  readonly names: readonly string[];
  readonly doc: string;
  readonly value: ValueModel | undefined;
  readonly defaultText: string | undefined;
}

export interface ArgumentModel {
  readonly name: string;
  readonly doc: string;
  readonly value: ValueModel;
}

export interface CommandModel {
  readonly name: string;
  readonly doc: string;
  readonly options: readonly OptionModel[];
  readonly positional: readonly ArgumentModel[];
}

/** The command line of a program, as completions and manual pages are made from it. */
export interface ProgramModel {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionModel[];
  readonly commands: readonly CommandModel[];
  /** Command lines of their own behind a first word, by that word; their names have it in them. */
  readonly groups: readonly ProgramModel[];
}

/** The word that a group of subcommands stands behind. */
export const groupWord = ({ name }: ProgramModel): string => name.split(" ").at(-1) ?? "";

/** Paths are completed as such. */
export const PATH_LABEL = "<path>";

/** The words of a label like `<on|off>`; none of others. */
function choicesOf(label: string): string[] {
  const inner = /^<([a-z0-9_-]+(?:\|[a-z0-9_-]+)+)>$/.exec(label)?.[1];
  return inner === undefined ? [] : inner.split("|");
}

const keyModel = ({ name, doc, label, defaultText }: Key): KeyModel => ({
  name,
  doc,
  label,
  choices: choicesOf(label),
  defaultText,
});

const keyModels = (schema: ObjectSchema | undefined): KeyModel[] =>
  schema === undefined
    ? []
    : keysOf(schema)
        .filter((key) => !key.hidden && !key.replacedBy)
        .map(keyModel);

function optionModel(option: OptionSpec): OptionModel {
  const { name, short, arity, doc, schema, choices = [], defaultText } = option;
  const long = name.length === 1 ? `-${name}` : `--${name}`;
  return {
    names: short === undefined ? [long] : [`-${short}`, long],
    doc,
    defaultText,
    value:
      arity === "flag" || arity === "count"
        ? undefined
        : {
            label: option.label ?? (schema === undefined ? choices.join("|") : "<keys>"),
            choices,
            keys: keyModels(schema),
            many: arity === "many",
            optional: arity === "optional",
          },
  };
}

function commandModel(name: string, { doc, arguments: given }: Command): CommandModel {
  const models = given.map((argument) => ({
    name: argument.name,
    short: argument.short,
    flag: argument.flag,
    doc: argument.doc,
    value: {
      label: argument.schema === undefined ? "<value>" : "<keys>",
      choices: [],
      keys: keyModels(argument.schema),
      many: false,
      optional: argument.presence === "optional",
    },
  }));
  return {
    name,
    doc,
    options: models
      .filter((model) => model.name.startsWith("--"))
      .map(({ name: long, short, flag, doc: about, value }) => ({
        names: short === undefined ? [long] : [short, long],
        doc: about,
        value: flag ? undefined : value,
        defaultText: undefined,
      })),
    positional: models.filter((model) => !model.name.startsWith("--")),
  };
}

/** The command line of `cloud-hypervisor`. */
export const cloudHypervisorModel = (): ProgramModel => ({
  name: "cloud-hypervisor",
  summary: "runs a virtual machine for a modern cloud workload",
  options: optionsOf(hostArch()).map(optionModel),
  commands: [],
  groups: [diskModel()],
});

const HELP: OptionModel = { names: ["-h", "--help"], doc: "print help", value: undefined, defaultText: undefined };

const diskOptionModel = ({ name, doc, label, choices = [] }: DiskOption): OptionModel => ({
  names: [`--${name}`],
  doc,
  value: label === undefined ? undefined : { label, choices, keys: [], many: false, optional: false },
  defaultText: undefined,
});

const diskOperandModel = ({ label, what, optional = false, isPath }: DiskOperand): ArgumentModel => ({
  name: label.replace(/[<>]/g, ""),
  doc: what,
  value: { label: isPath ? PATH_LABEL : label, choices: [], keys: [], many: false, optional },
});

/** The command line of `cloud-hypervisor disk`. */
const diskModel = (): ProgramModel => ({
  name: "cloud-hypervisor disk",
  summary: "looks at, makes and converts disk images",
  options: [HELP],
  commands: Object.entries<DiskCommand>(DISK_COMMANDS).map(([name, { doc, operands, options }]) => ({
    name,
    doc,
    options: options.map(diskOptionModel),
    positional: operands.map(diskOperandModel),
  })),
  groups: [],
});

const SOCKET: ValueModel = { label: PATH_LABEL, choices: [], keys: [], many: false, optional: false };
const REMOTE_OPTIONS: readonly OptionModel[] = [
  { names: ["--api-socket"], doc: "socket of the VMM's API", value: SOCKET, defaultText: undefined },
  HELP,
  { names: ["-V", "--version"], doc: "print the version", value: undefined, defaultText: undefined },
];

/** The command line of `ch-remote`. */
export const remoteModel = (): ProgramModel => ({
  name: "ch-remote",
  summary: "controls a virtual machine monitor",
  options: REMOTE_OPTIONS,
  commands: Object.entries<Command>(COMMANDS).map(([name, command]) => commandModel(name, command)),
  groups: [],
});
