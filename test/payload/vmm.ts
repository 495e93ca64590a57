import { existsSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "../setup/exec.ts";
import { buildPayload } from "./build.ts";
import { type PayloadOutcome, PayloadProcess } from "./process.ts";

/** How to run a payload on our own monitor. */
export interface VmmOptions {
  /** The guest's command line. */
  readonly cmdline?: string;
  readonly memory?: string;
  readonly cpus?: string;
  /** Replaces `--serial tty`. */
  readonly serial?: string;
  /** Replaces `--console off`. */
  readonly console?: string;
  /** More arguments, such as `--disk` and `--rng`. */
  readonly extra?: readonly string[];
  readonly timeoutMs?: number;
  /** Runs on a pseudo-terminal, without which `tty` takes no input. */
  readonly terminal?: boolean;
}

/** Whether the whole suite runs on monitors that are confined by Landlock (CH_TEST_LANDLOCK=1). */
export const UNDER_LANDLOCK = process.env["CH_TEST_LANDLOCK"] === "1";

const built = (name: string): string => join(import.meta.dir, "..", "..", "dist", name);

/** What `npm run build` makes. */
export const BUILT_VMM = built("cloud-hypervisor");
export const CH_REMOTE = built("ch-remote");

/** The built monitor, or what CH_TEST_VMM names: a tracer around it. Throws SetupError when it has not been built. */
export function vmmPath(): string {
  const path = process.env["CH_TEST_VMM"] ?? BUILT_VMM;
  if (!existsSync(path)) {
    throw new SetupError(`${path} does not exist: run npm run build first`);
  }
  return path;
}

/** The arguments that run a payload. */
export async function vmmArguments(name: string, options: VmmOptions = {}): Promise<string[]> {
  const { extra = [] } = options;
  return [
    ...(UNDER_LANDLOCK && !extra.includes("--landlock") ? ["--landlock"] : []),
    ...["--kernel", await buildPayload(name)],
    ...(options.cmdline === undefined ? [] : ["--cmdline", options.cmdline]),
    ...["--memory", options.memory ?? "size=512M", "--cpus", options.cpus ?? "boot=1"],
    ...["--serial", options.serial ?? "tty", "--console", options.console ?? "off"],
    ...extra,
  ];
}

/** Starts a payload on our monitor, its serial port on standard input and output. */
export async function startOnVmm(name: string, options: VmmOptions = {}): Promise<PayloadProcess> {
  const command = [vmmPath(), ...(await vmmArguments(name, options))];
  return new PayloadProcess(command, options.timeoutMs ?? 60_000, options.terminal ?? false);
}

/** Runs a payload on our monitor to its end. */
export async function runOnVmm(name: string, options: VmmOptions = {}): Promise<PayloadOutcome> {
  return (await startOnVmm(name, options)).outcome();
}
