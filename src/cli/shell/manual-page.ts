import {
  type CommandModel,
  groupWord,
  type KeyModel,
  type OptionModel,
  type ProgramModel,
  type ValueModel,
} from "./program.ts";

/** Text for roff: nothing in it is a request or an escape. */
function roff(text: string): string {
  const escaped = text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("^", "\\(ha").replaceAll("~", "\\(ti");
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

const bold = (text: string): string => `\\fB${roff(text)}\\fR`;
const italic = (text: string): string => `\\fI${roff(text)}\\fR`;

const sentence = (doc: string, defaultText: string | undefined): string =>
  roff(defaultText === undefined ? doc : `${doc} (default: ${defaultText === "" ? "empty" : defaultText})`);

function keyEntry({ name, label, doc, defaultText }: KeyModel): string {
  const term = label === "" ? bold(name) : `${bold(`${name}=`)}${italic(label.replace(/[<>]/g, ""))}`;
  return `.TP\n${term}\n${sentence(doc, defaultText)}`;
}

function keyList(keys: readonly KeyModel[]): string[] {
  return keys.length === 0 ? [] : [".RS", ...keys.map(keyEntry), ".RE"];
}

function valueText({ label, many, optional }: ValueModel): string {
  const text = `${italic(label.replace(/[<>]/g, ""))}${many ? roff("...") : ""}`;
  return optional ? `[${text}]` : text;
}

function optionEntry({ names, doc, value, defaultText }: OptionModel): string {
  const term = names.map(bold).join(", ") + (value === undefined ? "" : ` ${valueText(value)}`);
  return [".TP", term, sentence(doc, defaultText), ...keyList(value?.keys ?? [])].join("\n");
}

function commandEntry({ name, doc, options, positional }: CommandModel): string[] {
  const shown = [
    ...positional.map(({ name: argument, value }) => (value.optional ? `[${italic(argument)}]` : italic(argument))),
    ...options.map(({ names, value }) => `[${names.map(bold).join(", ")}${value ? ` ${valueText(value)}` : ""}]`),
  ];
  const keys = [...positional, ...options].flatMap(({ value }) => value?.keys ?? []);
  return [".TP", [bold(name), ...shown].join(" "), roff(doc), ...keyList(keys)];
}

const optionList = ({ options }: CommandModel): string[] =>
  options.length === 0 ? [] : [".RS", ...options.map(optionEntry), ".RE"];

/** The manual page of a program, for man(1). @param version of the program */
export function manualPage({ name, summary, options, commands, groups }: ProgramModel, version: string): string {
  const usage = commands.length === 0 ? "[OPTIONS]" : "[OPTIONS] SUBCOMMAND [ARGUMENTS]";
  const lines = [
    `.TH ${roff(name.toUpperCase())} 1 "" "${roff(`${name} ${version}`)}"`,
    ".SH NAME",
    `${roff(name)} \\- ${roff(summary)}`,
    ".SH SYNOPSIS",
    `${bold(name)} ${roff(usage)}`,
    ...groups.flatMap((group) => [".br", `${bold(group.name)} ${roff("SUBCOMMAND [ARGUMENTS]")}`]),
    ".SH OPTIONS",
    roff(
      "Keys are written as key=value,key=value and so on. A value with commas or brackets in it is written in double quotes.",
    ),
    ...options.map(optionEntry),
  ];
  if (commands.length > 0) lines.push(".SH SUBCOMMANDS", ...commands.flatMap(commandEntry));
  for (const group of groups) {
    lines.push(`.SH SUBCOMMANDS OF ${roff(groupWord(group).toUpperCase())}`);
    for (const command of group.commands)
      lines.push(...commandEntry({ ...command, name: `${groupWord(group)} ${command.name}` }), ...optionList(command));
  }
  return `${lines.join("\n")}\n`;
}
