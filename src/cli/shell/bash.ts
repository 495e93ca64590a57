import { groupWord, PATH_LABEL, type ProgramModel, type ValueModel } from "./program.ts";

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
const words = (list: readonly string[]): string => quote(list.join(" "));

/** A case of the table: what comes after `key` (`option`, or `command argument`). */
function cases(key: string, { choices, keys, label }: ValueModel): string[] {
  const name = quote(key);
  const lines: string[] = [];
  if (choices.length > 0) lines.push(`    ${name}) choices=${words(choices)} ;;`);
  else if (keys.length > 0) {
    lines.push(`    ${name}) keys=${words(keys.map((k) => (k.label === "" ? k.name : `${k.name}=`)))} ;;`);
    for (const k of keys) {
      if (k.choices.length > 0) lines.push(`    ${quote(`${key} ${k.name}=`)}) choices=${words(k.choices)} ;;`);
      else if (k.label === PATH_LABEL) lines.push(`    ${quote(`${key} ${k.name}=`)}) files=1 ;;`);
    }
  } else lines.push(`    ${name}) files=${label === PATH_LABEL ? 1 : 0} ;;`);
  return lines;
}

/** A completion script for bash 4 and later, to be sourced. */
export function bashCompletions(program: ProgramModel): string {
  const { name } = program;
  const fn = functionOf(program);
  return `# bash completion of ${name}, made by ${name} --completions bash
${functions(program)}
${fn}() {
  ${fn}_line "\${COMP_LINE:0:COMP_POINT}"
}

complete -F ${fn} ${name}
`;
}

const functionOf = ({ name }: ProgramModel): string => `_${name.replaceAll(/[- ]/g, "_")}`;

/** Functions that complete a line of a program, and those of its groups, which complete the line without its first word. */
function functions(program: ProgramModel): string {
  const { options, commands, groups } = program;
  const fn = functionOf(program);
  const table = [
    ...options.flatMap(({ names, value }) => (value === undefined ? [] : cases(` ${names.at(-1)}`, value))),
    ...commands.flatMap(({ name: command, options: own, positional }) => [
      // Behind a flag comes what would be there without it.
      ...own.flatMap(({ names, value = positional[0]?.value }) =>
        value === undefined ? [] : cases(`${command} ${names.at(-1)}`, value),
      ),
      ...positional.slice(0, 1).flatMap(({ value }) => cases(`${command} `, value)),
    ]),
  ];
  const own = commands
    .filter((command) => command.options.length > 0)
    .map((command) => `    ${quote(command.name)}) offered=${words(command.options.flatMap(({ names }) => names))} ;;`);
  const delegated = groups.map(
    (group) => `  if [[ $1 =~ ^[^[:space:]]+[[:space:]]+(${groupWord(group)}[[:space:]].*)$ ]]; then
    ${functionOf(group)}_line "\${BASH_REMATCH[1]}"
    return
  fi
`,
  );
  const first = words([...commands.map((command) => command.name), ...groups.map(groupWord)]);
  return `${groups.map(functions).join("\n")}${fn}_values() {
  choices= keys= files=0
  case $1 in
${table.join("\n")}
  esac
}

${fn}_line() {
${delegated.join("")}  local line=$1 word option= command= token choices keys files offered=${words(options.flatMap(({ names }) => names))} commands=${words(commands.map((command) => command.name))} first=${first}
  local -a tokens
  read -ra tokens <<<"$line"
  [[ $line == *[[:space:]] ]] && word= || { word=\${tokens[-1]}; unset 'tokens[-1]'; }
  for token in "\${tokens[@]:1}"; do
    if [[ $token == -* ]]; then option=$token
    elif [[ -n $commands && -z $command && -z $option ]]; then command=$token
    elif [[ -n $commands ]]; then option=
    fi
  done
  COMPREPLY=()
  if [[ -n $command ]]; then
    commands= offered=
    case $command in
${own.join("\n")}
    esac
  fi
  ${fn}_values "$command $option"
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$offered" -- "$word"))
  elif [[ -n $choices ]]; then
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
  elif [[ -n $keys ]]; then
    local before=\${word%"\${word##*,}"} last=\${word##*,}
    if [[ $last == *=* ]]; then
      ${fn}_values "$command $option \${last%%=*}="
      [[ $files == 1 ]] && COMPREPLY=($(compgen -f -- "\${last#*=}")) || COMPREPLY=($(compgen -W "$choices" -- "\${last#*=}"))
      COMPREPLY=("\${COMPREPLY[@]/#/$before\${last%%=*}=}")
    else
      COMPREPLY=($(compgen -W "$keys" -- "$last"))
      COMPREPLY=("\${COMPREPLY[@]/#/$before}")
    fi
    compopt -o nospace 2>/dev/null
  elif [[ $files == 1 ]]; then
    COMPREPLY=($(compgen -f -- "$word"))
    compopt -o filenames 2>/dev/null
  else
    [[ \${#tokens[@]} == 1 ]] && commands=$first
    COMPREPLY=($(compgen -W "$commands $offered" -- "$word"))
  fi
  # bash itself breaks words at these characters and replaces only what follows the last one.
  local kept=\${word%"\${word##*[=:]}"}
  COMPREPLY=("\${COMPREPLY[@]#"$kept"}")
}
`;
}
