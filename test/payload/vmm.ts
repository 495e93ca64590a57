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

/** The built monitor. Throws SetupError when `npm run build` has not been run. */
export function vmmPath(): string {
  const path = join(import.meta.dir, "..", "..", "dist", "cloud-hypervisor");
  if (!existsSync(path)) {
    throw new SetupError(`${path} does not exist: run npm run build first`);
  }
  return path;
}

/** The arguments that run a payload. */
export async function vmmArguments(name: string, options: VmmOptions = {}): Promise<string[]> {
  return [
    ...["--kernel", await buildPayload(name)],
    ...(options.cmdline === undefined ? [] : ["--cmdline", options.cmdline]),
    ...["--memory", options.memory ?? "size=512M", "--cpus", options.cpus ?? "boot=1"],
    ...["--serial", options.serial ?? "tty", "--console", options.console ?? "off"],
    ...(options.extra ?? []),
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
