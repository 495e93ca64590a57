import { type Arch, hostArch } from "../config/arch.ts";
import { GivenOptions, type OptionName, optionsOf, type Start, startOf } from "../config/options.ts";
import type { SeccompMode } from "../host/seccomp/install.ts";
import { type ParsedArguments, parseArguments, UsageError } from "./arguments.ts";
import { helpText } from "./help.ts";
import { versionText } from "./version.ts";

/** Values of `--seccomp`. */
const SECCOMP_MODES = new Map<string, SeccompMode | undefined>([
  ["true", "trap"],
  ["false", undefined],
  ["log", "log"],
  ["errno", "errno"],
]);

/** What a well-formed command line asks for. Values of options are still text: they are read one by one during the start. */
export interface RunRequest {
  readonly options: GivenOptions;
  readonly start: Start;
  /** How often `-v` was given. */
  readonly verbosity: number;
  readonly noShutdown: boolean;
  /** What a violation of a thread's system call filter leads to; no filters when undefined. */
  readonly seccomp: SeccompMode | undefined;
  readonly logFile: string | undefined;
  readonly logFormat: string | undefined;
}

/** What a command line comes to: text to print, after which the process ends, or a VMM to run. */
export type CommandLine =
  | { readonly kind: "help" | "version"; readonly stream: "stdout"; readonly text: string; readonly exitCode: 0 }
  | {
      readonly kind: "no-arguments" | "usage-error";
      readonly stream: "stderr";
      readonly text: string;
      readonly exitCode: 2;
    }
  | { readonly kind: "run"; readonly request: RunRequest };

/** Where a command line is read. */
export interface Surroundings {
  readonly arch: Arch;
  /** Columns of the terminal that help is printed to; undefined when it is none. Asked only for help. */
  readonly columns: () => number | undefined;
}

const DEFAULT_COLUMNS = 80;

/** An option of the VM's configuration makes no sense without something to boot. @throws UsageError */
function checkGroups(values: ReadonlyMap<OptionName, unknown>, arch: Arch): void {
  const options = optionsOf(arch);
  const given = options.filter((option) => values.has(option.name));
  const vmOption = given.find((option) => option.group === "vm");
  if (vmOption === undefined || given.some((option) => option.group === "payload")) return;
  const payloads = options.filter((option) => option.group === "payload").map((option) => `--${option.name}`);
  throw new UsageError(`--${vmOption.name} needs something to boot, one of: ${payloads.join(", ")}`);
}

function request({ values, verbosity }: ParsedArguments): RunRequest {
  const options = new GivenOptions(values);
  return {
    options,
    start: startOf(options),
    verbosity,
    noShutdown: options.has("no-shutdown"),
    seccomp: SECCOMP_MODES.get(options.text("seccomp") ?? "true"),
    logFile: options.text("log-file"),
    logFormat: options.text("log-format"),
  };
}

/**
 * Reads a command line.
 * @param argv the arguments without the program's name
 */
export function parseCommandLine(argv: readonly string[], surroundings: Partial<Surroundings> = {}): CommandLine {
  const { arch = hostArch(), columns = () => undefined } = surroundings;
  const help = () => helpText(arch, columns() ?? DEFAULT_COLUMNS);
  if (argv.length === 0) return { kind: "no-arguments", stream: "stderr", text: help(), exitCode: 2 };
  try {
    const parsed = parseArguments(argv, optionsOf(arch));
    if (parsed.help) return { kind: "help", stream: "stdout", text: help(), exitCode: 0 };
    checkGroups(parsed.values, arch);
    if (parsed.values.has("version"))
      return { kind: "version", stream: "stdout", text: versionText(parsed.verbosity > 0), exitCode: 0 };
    return { kind: "run", request: request(parsed) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const text = `error: ${error.message}\n\nUsage: cloud-hypervisor [OPTIONS]\n\nTry 'cloud-hypervisor --help'.\n`;
    return { kind: "usage-error", stream: "stderr", text, exitCode: 2 };
  }
}
