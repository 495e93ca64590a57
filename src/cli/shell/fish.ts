import {
  type CommandModel,
  groupWord,
  type OptionModel,
  PATH_LABEL,
  type ProgramModel,
  type ValueModel,
} from "./program.ts";

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

/** @param behind a condition for all of it, which ends in "; and ", or nothing */
function commandLines(
  fn: string,
  program: string,
  { name, doc, options, positional }: CommandModel,
  behind = "",
  isFirst = `${fn}_no_command`,
): string[] {
  const inCommand = ` -n ${quote(`${behind}__fish_seen_subcommand_from ${name}`)}`;
  return [
    `complete -c ${program} -n ${quote(`${behind}${isFirst}`)} -f -a ${quote(name)} -d ${quote(doc)}`,
    ...options.map((option) => optionLine(fn, program, option, inCommand)),
    ...positional.slice(0, 1).map(({ value }) => `complete -c ${program}${inCommand} ${taking(fn, value)}`),
  ];
}

/** A group's word, and what comes behind it. */
function groupLines(fn: string, program: string, group: ProgramModel): string[] {
  const word = groupWord(group);
  const names = group.commands.map((command) => command.name).join(" ");
  const behind = `__fish_seen_subcommand_from ${word}; and `;
  return [
    `complete -c ${program} -n '__fish_use_subcommand' -f -a ${quote(word)} -d ${quote(group.summary)}`,
    ...group.commands.flatMap((command) =>
      commandLines(fn, program, command, behind, `not __fish_seen_subcommand_from ${names}`),
    ),
  ];
}

/** A completion script for fish, to be sourced or put into its completions folder. */
export function fishCompletions({ name, options, commands, groups }: ProgramModel): string {
  const fn = `__${name.replaceAll("-", "_")}`;
  const outside = groups.length === 0 ? "" : ` -n 'not __fish_seen_subcommand_from ${groups.map(groupWord).join(" ")}'`;
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
  ...options.map((option) => optionLine(fn, name, option, outside)),
  ...commands.flatMap((command) => commandLines(fn, name, command)),
  ...groups.flatMap((group) => groupLines(fn, name, group)),
].join("\n")}
`;
}
