import {
  type ArgumentModel,
  type CommandModel,
  groupWord,
  type KeyModel,
  type OptionModel,
  PATH_LABEL,
  type ProgramModel,
  type ValueModel,
} from "./program.ts";

/** Text in a specification of _arguments or _values. */
const text = (words: string): string => words.replace(/[[\]:\\]/g, "\\$&");
const quote = (words: string): string => `'${words.replaceAll("'", `'\\''`)}'`;

const message = (label: string): string => text(label.replace(/[<>]/g, ""));

function keySpec({ name, doc, label, choices }: KeyModel): string {
  const head = `${name}[${text(doc)}]`;
  if (label === "") return quote(head);
  const value = choices.length > 0 ? `(${choices.join(" ")})` : label === PATH_LABEL ? "_files" : " ";
  return quote(`${head}:${message(label)}:${value}`);
}

/** Two underscores behind a program's name: with one there are functions for its options. */
const functionOf = ({ name }: ProgramModel): string => `_${name.replaceAll(" ", "__").replaceAll("-", "_")}`;

/** A completion function for zsh, to be put into a folder of fpath as `_<program>`, or sourced. */
export function zshCompletions(program: ProgramModel): string {
  const { name } = program;
  const fn = functionOf(program);
  return `#compdef ${name}
# zsh completion of ${name}, made by ${name} --completions zsh
${functionsOf(program)}if [[ $funcstack[1] == _${name} ]]; then ${fn} "$@"; else compdef ${fn} ${name}; fi
`;
}

/** The functions that complete a program's words, and those of its groups, which see the words from theirs on. */
function functionsOf(program: ProgramModel): string {
  const fn = functionOf(program);
  const functions: string[] = [];

  /** The action that completes a value; values with keys have a function of their own. */
  const action = (of: string, { choices, keys, label }: ValueModel): string => {
    if (choices.length > 0) return `(${choices.join(" ")})`;
    if (keys.length === 0) return label === PATH_LABEL ? "_files" : " ";
    const helper = `${fn}_${of.replace(/^-+/, "").replace(/[^a-z0-9]/g, "_")}`;
    const lines = ["_values -s , key", ...keys.map(keySpec)];
    functions.push(`${helper}() {\n  ${lines.join(" \\\n    ")}\n}`);
    return helper;
  };
  const optionSpecs = (of: string, { names, doc, value }: OptionModel): string[] => {
    const tail = value === undefined ? "" : `:${message(value.label)}:${action(`${of}${names.at(-1)}`, value)}`;
    return names.map((option) => quote(`${value?.many === true ? "*" : ""}${option}[${text(doc)}]${tail}`));
  };
  const argumentSpec = (of: string, { name: argument, value }: ArgumentModel, i: number): string =>
    quote(`${i + 1}:${text(argument)}:${action(`${of}_${argument}`, value)}`);
  const commandCase = ({ name: command, options, positional }: CommandModel): string => {
    const specs = [
      ...options.flatMap((option) => optionSpecs(command, option)),
      ...positional.map((argument, i) => argumentSpec(command, argument, i)),
    ];
    return specs.length === 0 ? "" : `    ${command}) _arguments ${specs.join(" ")} ;;\n`;
  };

  const { commands, groups } = program;
  const delegated = groups.map(
    (group) => `  if [[ $words[2] == ${groupWord(group)} && $CURRENT -gt 2 ]]; then
    shift words
    (( CURRENT-- ))
    ${functionOf(group)}
    return
  fi
`,
  );
  const first = groups.length === 0 ? "" : ` \\\n    '1:subcommand:(${groups.map(groupWord).join(" ")})'`;
  const options = program.options.flatMap((option) => optionSpecs("", option)).join(" \\\n    ");
  const body =
    commands.length === 0
      ? `  _arguments \\\n    ${options}${first}`
      : `  local state line
  _arguments -C \\
    ${options} \\
    '1:subcommand:->command' '*::argument:->argument'
  case $state in
  command)
    _values subcommand \\
      ${commands.map((command) => quote(`${command.name}[${text(command.doc)}]`)).join(" \\\n      ")}
    ;;
  argument)
    case $line[1] in
${commands.map(commandCase).join("")}    esac
    ;;
  esac`;
  return `${groups.map(functionsOf).join("")}${functions.join("\n")}
${fn}() {
${delegated.join("")}${body}
}
`;
}
