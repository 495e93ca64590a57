import { type CommandModel, type OptionModel, PATH_LABEL, type ProgramModel, type ValueModel } from "./program.ts";

const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

/** One candidate a line, each with its description behind a tab. */
const candidates = (list: readonly (readonly [string, string])[]): string =>
  list.map(([word, doc]) => quote(`${word}\t${doc}`)).join(" ");

/** A flag of complete(1) that says what follows. */
function taking(fn: string, value: ValueModel): string {
  const { choices, keys, label } = value;
  if (choices.length > 0) return `-x -a ${quote(choices.join(" "))}`;
  if (keys.length > 0) {
    const list = keys.flatMap((key) =>
      key.choices.length > 0
        ? key.choices.map((choice) => [`${key.name}=${choice}`, key.doc] as const)
        : [[key.label === "" ? key.name : `${key.name}=`, key.doc] as const],
    );
    return `-x -a ${quote(`(${fn}_keys ${candidates(list)})`)}`;
  }
  return label === PATH_LABEL ? "-r -F" : "-x";
}

function optionLine(fn: string, program: string, { names, doc, value }: OptionModel, condition = ""): string {
  const flags = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`)).join(" ");
  const tail = value === undefined ? "" : ` ${taking(fn, value)}`;
  return `complete -c ${program}${condition} ${flags} -d ${quote(doc)}${tail}`;
}

function commandLines(fn: string, program: string, { name, doc, options, positional }: CommandModel): string[] {
  const inCommand = ` -n ${quote(`__fish_seen_subcommand_from ${name}`)}`;
  return [
    `complete -c ${program} -n '${fn}_no_command' -f -a ${quote(name)} -d ${quote(doc)}`,
    ...options.map((option) => optionLine(fn, program, option, inCommand)),
    ...positional.slice(0, 1).map(({ value }) => `complete -c ${program}${inCommand} ${taking(fn, value)}`),
  ];
}

/** A completion script for fish, to be sourced or put into its completions folder. */
export function fishCompletions({ name, options, commands }: ProgramModel): string {
  const fn = `__${name.replaceAll("-", "_")}`;
  const names = commands.map((command) => command.name).join(" ");
  return `# fish completion of ${name}, made by ${name} --completions fish
function ${fn}_keys
  set -l before (string replace -r '[^,]*$' '' -- (commandline -ct))
  for candidate in $argv
    printf '%s%s\\n' $before $candidate
  end
end
function ${fn}_no_command
  not __fish_seen_subcommand_from ${names === "" ? "''" : names}
end
complete -c ${name} -f
${[
  ...options.map((option) => optionLine(fn, name, option)),
  ...commands.flatMap((command) => commandLines(fn, name, command)),
].join("\n")}
`;
}
