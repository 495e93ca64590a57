import { UsageError } from "../arguments.ts";
import { COMMANDS, type Command, type Values } from "./commands.ts";

/** What a command line of `ch-remote` asks for. */
export type RemoteCommandLine =
  | { readonly kind: "help"; readonly command: string | undefined }
  | { readonly kind: "version" }
  | {
      readonly kind: "run";
      readonly socket: string | undefined;
      readonly command: Command;
      readonly values: Values;
    };

function commandNamed(name: string): Command {
  const command: Command | undefined = Object.hasOwn(COMMANDS, name)
    ? COMMANDS[name as keyof typeof COMMANDS]
    : undefined;
  if (command === undefined) throw new UsageError(`unrecognized subcommand '${name}'`);
  return command;
}

function isHelp(argument: string): boolean {
  return argument === "-h" || argument === "--help";
}

/** The arguments after a subcommand. @returns undefined when they ask for help. @throws UsageError */
function commandValues(command: Command, argv: readonly string[]): Values | undefined {
  const values = new Map<string, string>();
  const positional = command.arguments.filter(({ name }) => !name.startsWith("--"));
  let rest = false;
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? "";
    if (!rest && argument === "--") rest = true;
    else if (!rest && isHelp(argument)) return undefined;
    else if (!rest && argument.startsWith("-") && argument !== "-") {
      const equals = argument.indexOf("=");
      const given = equals < 0 ? argument : argument.slice(0, equals);
      const option = command.arguments.find(({ name, short }) => name === given || short === given);
      if (option === undefined) throw new UsageError(`unexpected argument '${argument}'`);
      const { name, flag } = option;
      if (flag && equals >= 0) throw new UsageError(`'${name}' takes no value`);
      if (values.has(name)) throw new UsageError(`the argument '${name}' cannot be used multiple times`);
      const value = flag ? "" : equals < 0 ? argv[++at] : argument.slice(equals + 1);
      if (value === undefined) throw new UsageError(`a value is required for '${name}' but none was given`);
      values.set(name, value);
    } else {
      const next = positional.find(({ name }) => !values.has(name));
      if (next === undefined) throw new UsageError(`unexpected argument '${argument}'`);
      values.set(next.name, argument);
    }
  }
  const missing = command.arguments.find(({ name, presence }) => presence === "required" && !values.has(name));
  if (missing !== undefined) throw new UsageError(`the argument <${missing.name}> is required`);
  return values;
}

/** Reads a command line, without the program's name. Options of the program stand before the subcommand. @throws UsageError */
export function parseRemoteArguments(argv: readonly string[]): RemoteCommandLine {
  let socket: string | undefined;
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? "";
    if (isHelp(argument)) return { kind: "help", command: undefined };
    if (argument === "-V" || argument === "--version") return { kind: "version" };
    if (argument === "--api-socket" || argument.startsWith("--api-socket=")) {
      if (socket !== undefined) throw new UsageError("the argument '--api-socket' cannot be used multiple times");
      socket = argument === "--api-socket" ? argv[++at] : argument.slice("--api-socket=".length);
      if (socket === undefined) throw new UsageError("a value is required for '--api-socket' but none was given");
    } else if (argument.startsWith("-")) throw new UsageError(`unexpected argument '${argument}'`);
    else return subcommand(argument, argv.slice(at + 1), socket);
  }
  throw new UsageError("a subcommand is required");
}

function subcommand(name: string, argv: readonly string[], socket: string | undefined): RemoteCommandLine {
  if (name === "help") {
    const [about] = argv;
    if (about !== undefined) commandNamed(about);
    return { kind: "help", command: about };
  }
  const command = commandNamed(name);
  const values = commandValues(command, argv);
  return values === undefined ? { kind: "help", command: name } : { kind: "run", socket, command, values };
}
