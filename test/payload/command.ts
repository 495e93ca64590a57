import { expect } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { findTool } from "../setup/exec.ts";
import { vmmPath } from "./vmm.ts";

/** How a run of the executable ended and what it said. */
export interface CommandOutcome {
  readonly exitCode: number | null;
  readonly signal: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly elapsedMs: number;
  /** Ids of processes that are still there: started by the run, at whatever depth. */
  readonly left: readonly number[];
}

export interface CommandOptions {
  readonly cwd?: string;
  /** Put before the command, to change what it runs in. */
  readonly prefix?: readonly string[];
  /** Instead of the built monitor. */
  readonly program?: string;
}

/** A run that takes longer is killed and has failed. */
const TIMEOUT_MS = 20_000;
const MARK = "CH_TEST_RUN";

/** An environment by which a process and all its children are found. */
export function markedEnvironment(mark: string): Record<string, string | undefined> {
  return { ...process.env, LC_ALL: "C", [MARK]: mark };
}

/** The processes that carry a mark. Those that have ended and only wait for their parent do not count. */
export function processesMarked(mark: string): number[] {
  const wanted = `${MARK}=${mark}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => environmentOf(pid).includes(wanted));
}

function environmentOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
  } catch (error) {
    if (error instanceof Error && "code" in error && ["ENOENT", "ESRCH", "EACCES"].includes(String(error.code)))
      return [];
    throw error;
  }
}

let runs = 0;

/** A mark that no other run has. */
export function newMark(): string {
  return `${process.pid}-${runs++}`;
}

/** Runs the executable to its end, with nothing on its standard input. */
export async function runCommand(args: readonly string[], options: CommandOptions = {}): Promise<CommandOutcome> {
  const { cwd, prefix = [], program = vmmPath() } = options;
  const mark = newMark();
  const started = performance.now();
  const child = Bun.spawn([...prefix, program, ...args], {
    ...(cwd === undefined ? {} : { cwd }),
    env: markedEnvironment(mark),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  clearTimeout(timer);
  const elapsedMs = performance.now() - started;
  return {
    exitCode: child.exitCode,
    signal: child.signalCode,
    stdout,
    stderr,
    elapsedMs,
    left: processesMarked(mark),
  };
}

const FAILURE =
  /^Error: Cloud Hypervisor exited with the following (?:error:\n {2}(\S.*)\n|chain of errors:\n((?: {2}\d+: \S.*\n)+))$/m;

/** The texts of the errors that the executable failed with, outermost first; checks that nothing else stands there. */
export function failureChain(stderr: string): string[] {
  const at = stderr.indexOf("Error: Cloud Hypervisor exited");
  const [whole = "", single, chain = ""] = FAILURE.exec(stderr.slice(Math.max(0, at))) ?? [];
  expect({ stderr, failure: stderr.slice(stderr.length - whole.length) }).toEqual({ stderr, failure: whole });
  expect(whole).not.toBe("");
  // Before it only records of the log, which end with CR LF, and no stack of the program's own calls.
  expect(at <= 0 || stderr.slice(0, at).endsWith("\r\n")).toBeTrue();
  expect(stderr).not.toMatch(/\n {4}at /);
  if (single !== undefined) return [single];
  const links = chain.trimEnd().split("\n");
  return links.map((link, index) => {
    expect(link).toStartWith(`  ${index}: `);
    return link.slice(`  ${index}: `.length);
  });
}

/**
 * What an error may take, in milliseconds: a second, or more where even `--version` takes long, as on an emulated host.
 */
export async function errorBudgetMs(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 3; i++) times.push((await runCommand(["--version"])).elapsedMs);
  return Math.max(1000, 20 * Math.min(...times));
}

/** Whether programs can be given mounts of their own here, which takes root and a kernel that lets them. */
export function canUnshare(): boolean {
  const unshare = findTool("unshare");
  return unshare !== undefined && findTool("setpriv") !== undefined && Bun.spawnSync([unshare, "-m", "true"]).success;
}
