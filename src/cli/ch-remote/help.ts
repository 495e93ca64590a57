import { keysOf } from "../../config/schema/object-schema.ts";
import { buildVersion } from "../build-version.ts";
import { type Argument, COMMANDS, type Command } from "./commands.ts";

const NAME_COLUMN = 28;
const KEY_COLUMN = 40;

const row = (name: string, doc: string, column: number): string => {
  const left = `  ${name}`;
  return left.length + 2 > column ? `${left}\n${" ".repeat(column)}${doc}` : `${left.padEnd(column)}${doc}`;
};

const USAGE = "Usage: ch-remote [--api-socket <path>] <subcommand> [arguments]";

const GLOBAL = [
  row("--api-socket <path>", "socket of the VMM's API", NAME_COLUMN),
  row("-h, --help", "print this help", NAME_COLUMN),
  row("-V, --version", "print the version", NAME_COLUMN),
].join("\n");

function shown({ name, short, flag, presence }: Argument): string {
  const names = short === undefined ? name : `${short}, ${name}`;
  const text = !name.startsWith("--") ? `<${name}>` : flag ? names : `${names} <value>`;
  return presence === "optional" ? `[${text}]` : text;
}

function keyRows({ schema }: Argument): readonly string[] {
  if (schema === undefined) return [];
  return keysOf(schema)
    .filter((key) => !key.hidden && !key.replacedBy)
    .map((key) => {
      const note = key.required ? " [required]" : key.defaultText === undefined ? "" : ` [default: ${key.defaultText}]`;
      return row(`  ${key.name}=${key.label}`, `${key.doc}${note}`, KEY_COLUMN);
    });
}

/** All subcommands. */
export function remoteHelp(): string {
  const commands = Object.entries(COMMANDS).map(([name, { doc }]) => row(name, doc, NAME_COLUMN));
  const help = row("help [subcommand]", "print help, of a subcommand or of all", NAME_COLUMN);
  return `ch-remote ${buildVersion}\nControls a virtual machine monitor.\n\n${USAGE}\n\nSubcommands:\n${[...commands, help].join("\n")}\n\nOptions:\n${GLOBAL}\n`;
}

/** One subcommand with its arguments and their keys. */
export function commandHelp(name: string): string {
  const command: Command | undefined = Object.entries(COMMANDS).find(([other]) => other === name)?.[1];
  if (command === undefined) return remoteHelp();
  const usage = ["Usage: ch-remote", name, ...command.arguments.map(shown)].join(" ");
  const rows = command.arguments.flatMap((argument) => [
    row(shown(argument), argument.doc, NAME_COLUMN),
    ...keyRows(argument),
  ]);
  return `${command.doc}\n\n${usage}\n${rows.length === 0 ? "" : `\nArguments:\n${rows.join("\n")}\n`}`;
}

/** What follows a usage error. */
export const USAGE_HINT = `${USAGE}\n\nTry 'ch-remote --help'.\n`;
