import { findTool, SetupError } from "../setup/exec.ts";

/** Exit status of a child that was stopped at its time limit, as `timeout` has it. */
export const TIMED_OUT = 124;

/**
 * Runs a program with this process's output, and returns its exit status. At the time limit it and all it started are killed.
 */
export async function runChild(
  command: readonly [string, ...string[]],
  options: { readonly cwd: string; readonly timeoutMs: number },
): Promise<number> {
  // `timeout` makes itself a process group and signals all of it, which a kill of the child alone would not.
  const timeout = findTool("timeout");
  if (timeout === undefined) throw new SetupError("timeout (coreutils) is needed");
  const seconds = String(Math.ceil(options.timeoutMs / 1000));
  const child = Bun.spawn([timeout, "--signal=TERM", "--kill-after=5", seconds, ...command], {
    cwd: options.cwd,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  const stop = () => child.kill("SIGTERM");
  process.on("exit", stop);
  try {
    const status = await child.exited;
    if (status === TIMED_OUT) console.error(`${command.slice(0, 3).join(" ")}: stopped after ${seconds} s`);
    return status;
  } finally {
    process.off("exit", stop);
  }
}
