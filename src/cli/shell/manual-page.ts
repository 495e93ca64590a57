import type { KeyModel, OptionModel, ProgramModel, ValueModel } from "./program.ts";

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

/** The manual page of a program, for man(1). @param version of the program */
export function manualPage({ name, summary, options, commands }: ProgramModel, version: string): string {
  const usage = commands.length === 0 ? "[OPTIONS]" : "[OPTIONS] SUBCOMMAND [ARGUMENTS]";
  const lines = [
    `.TH ${roff(name.toUpperCase())} 1 "" "${roff(`${name} ${version}`)}"`,
    ".SH NAME",
    `${roff(name)} \\- ${roff(summary)}`,
    ".SH SYNOPSIS",
    `${bold(name)} ${roff(usage)}`,
    ".SH OPTIONS",
    roff(
      "Keys are written as key=value,key=value and so on. A value with commas or brackets in it is written in double quotes.",
    ),
    ...options.map(optionEntry),
  ];
  if (commands.length > 0) {
    lines.push(".SH SUBCOMMANDS");
    for (const command of commands) {
      const shown = [
        ...command.positional.map(({ name: argument }) => italic(argument)),
        ...command.options.map(
          ({ names, value }) => `[${names.map(bold).join(", ")}${value ? ` ${valueText(value)}` : ""}]`,
        ),
      ];
      lines.push(".TP", [bold(command.name), ...shown].join(" "), roff(command.doc));
      lines.push(...keyList([...command.positional, ...command.options].flatMap(({ value }) => value?.keys ?? [])));
    }
  }
  return `${lines.join("\n")}\n`;
}
