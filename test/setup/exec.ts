import { existsSync } from "node:fs";
import { join } from "node:path";

/** Set-up of the machine for tests failed; the message says what the user can do about it. */
export class SetupError extends Error {
  override readonly name = "SetupError";
}

/** Administrators' tools live here on Debian, outside the PATH of ordinary users. */
const SBIN = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The absolute path of a program, or undefined when the machine does not have it. */
export function findTool(name: string): string | undefined {
  const onPath = Bun.which(name);
  if (onPath !== null) return onPath;
  return SBIN.map((dir) => join(dir, name)).find((path) => existsSync(path));
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: Uint8Array | Bun.BunFile;
}

/**
 * Runs a program to its end and returns its standard output.
 * @throws SetupError when the program is missing or exits with another status than 0; the message ends with its stderr.
 */
export async function run(command: readonly [string, ...string[]], options: RunOptions = {}): Promise<Uint8Array> {
  const [name, ...args] = command;
  const program = findTool(name);
  if (program === undefined) throw new SetupError(`${name} is not installed on this machine`);
  const child = Bun.spawn([program, ...args], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, LC_ALL: "C", ...options.env },
    stdin: options.stdin ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, status] = await Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
  if (status !== 0) {
    const why = stderr.trim().slice(-2000);
    throw new SetupError(`${command.join(" ").slice(0, 300)} failed with status ${status}${why && `:\n${why}`}`);
  }
  return stdout;
}

/** Like `run`, with the output as text. */
export async function runText(command: readonly [string, ...string[]], options: RunOptions = {}): Promise<string> {
  return new TextDecoder().decode(await run(command, options));
}
