/** An option of a subcommand. */
export interface DiskOption {
  readonly name: string;
  readonly doc: string;
  /** What its value is, as help shows it; undefined for a flag. */
  readonly label?: string;
  /** Words its value can be; undefined when it can be others. */
  readonly choices?: readonly string[];
}

/** An argument of a subcommand. */
export interface DiskOperand {
  readonly label: string;
  /** As in "give an image". */
  readonly what: string;
  readonly optional?: boolean;
  readonly isPath: boolean;
}

export interface DiskCommand {
  readonly doc: string;
  readonly operands: readonly DiskOperand[];
  readonly options: readonly DiskOption[];
}

export const IMAGE_FORMATS = ["raw", "qcow2"] as const;
export const PREALLOCATIONS = ["off", "metadata", "falloc"] as const;
export const REPAIRS = ["leaks", "all"] as const;

const choice = (name: string, choices: readonly string[], doc: string): DiskOption => ({
  name,
  doc,
  choices,
  label: choices.join("|"),
});

const IMAGE: DiskOperand = { label: "<image>", what: "an image", isPath: true };
const NEW_IMAGE: DiskOperand = { label: "<new image>", what: "a new image", isPath: true };
const FORMAT = choice("format", IMAGE_FORMATS, "format of the new image; raw if not given");
const CLUSTER_SIZE: DiskOption = {
  name: "cluster-size",
  label: "<size>",
  doc: "of clusters of qcow2: a power of two from 512 to 2M, 64K if not given",
};

/** The subcommands of `cloud-hypervisor disk`: its grammar, its help, its manual page and its completions follow from this. */
export const DISK_COMMANDS = {
  info: {
    doc: "Format and sizes of an image, also of one that a VM is using.",
    operands: [IMAGE],
    options: [{ name: "json", doc: "print for programs" }],
  },
  check: {
    doc:
      "Looks for what is wrong with the tables of a qcow2, VHDX or fixed VHD image that no VM writes to. Exit status: 0 nothing, or nothing any " +
      "more, 1 it could not be checked, 2 the image is corrupt, 3 it has only lost space (leaks), 63 not for this format.",
    operands: [IMAGE],
    options: [
      choice(
        "repair",
        REPAIRS,
        "of qcow2: give lost space back, or mend all that refcounts and their flags can mend; nothing is changed if not given",
      ),
    ],
  },
  create: {
    doc: "Makes an empty image. A size is in bytes, or has K, M, G or T after it.",
    operands: [NEW_IMAGE, { label: "<size>", what: "a size", optional: true, isPath: false }],
    options: [
      FORMAT,
      CLUSTER_SIZE,
      {
        name: "backing-file",
        label: "<path>",
        doc: "make a qcow2 image of differences to this one; its size if no other is given",
      },
      choice("backing-format", IMAGE_FORMATS, "of the backing file: has to be given with it"),
      choice(
        "preallocation",
        PREALLOCATIONS,
        "give clusters of qcow2 their places now, or allocate all of the space as well",
      ),
    ],
  },
  convert: {
    doc: "Makes an image, without the zeroes, of a raw, qcow2, VHDX or fixed VHD image that no VM writes to.",
    operands: [IMAGE, NEW_IMAGE],
    options: [
      FORMAT,
      CLUSTER_SIZE,
      { name: "verify", doc: "read both again and compare before the new image gets its name" },
      {
        name: "backing-files",
        doc: "read the files that a qcow2 image names as those it is based on: only for images that you trust",
      },
    ],
  },
} as const satisfies Readonly<Record<string, DiskCommand>>;

export type DiskCommandName = keyof typeof DISK_COMMANDS;

export const isDiskCommand = (name: string): name is DiskCommandName => Object.hasOwn(DISK_COMMANDS, name);

const COLUMNS = 120;
const DOC_INDENT = 11;
const OPTION_DOC_INDENT = 27;

/** Lines of at most `COLUMNS` columns, all but the first indented. */
function wrap(text: string, indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + word.length > COLUMNS) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

function usage(name: string, { operands, options }: DiskCommand): string {
  const shown = operands.map(({ label, optional }) => (optional === true ? `[${label}]` : label));
  return `  cloud-hypervisor disk ${[name, ...(options.length > 0 ? ["[options]"] : []), ...shown].join(" ")}\n`;
}

function optionHelp({ name, label, doc }: DiskOption): string {
  const term = `  --${name}${label === undefined ? "" : ` ${label}`}`;
  const gap =
    term.length < OPTION_DOC_INDENT - 1
      ? " ".repeat(OPTION_DOC_INDENT - term.length)
      : `\n${" ".repeat(OPTION_DOC_INDENT)}`;
  return `${term}${gap}${wrap(doc, OPTION_DOC_INDENT)}\n`;
}

/** What `--help` prints. */
export function diskHelp(): string {
  const commands = Object.entries<DiskCommand>(DISK_COMMANDS);
  return [
    "Looks at, makes and converts disk images.\n\nUsage:\n",
    ...commands.map(([name, command]) => usage(name, command)),
    "\n",
    ...commands.flatMap(([name, { doc, options }]) => [
      `${name.padEnd(DOC_INDENT)}${wrap(doc, DOC_INDENT)}\n`,
      ...options.map(optionHelp),
    ]),
  ].join("");
}
