import { expect, test } from "bun:test";
import { join } from "node:path";

const SCRIPT = join(import.meta.dir, "run-command.ts");

function command(...argv: string[]) {
  const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, SCRIPT, ...argv]);
  return { stdout: stdout.toString(), stderr: stderr.toString(), exitCode };
}

test("hands the request over and ends with its exit code", () =>
  expect(command("--kernel", "k", "--disk", "a", "b", "--no-shutdown")).toEqual({
    stdout: "boot kernel,disk,no-shutdown\n",
    stderr: "",
    exitCode: 7,
  }));

test("prints help and version to stdout", () => {
  const help = command("--help");
  expect(help).toMatchObject({ stderr: "", exitCode: 0 });
  expect(help.stdout).toContain("--kernel <path>");
  expect(command("--version")).toMatchObject({ stderr: "", exitCode: 0 });
});

test("prints usage errors and the help of no arguments to stderr", () => {
  const wrong = command("--nonsense");
  expect(wrong).toMatchObject({ stdout: "", exitCode: 2 });
  expect(wrong.stderr).toStartWith("error: ");
  const none = command();
  expect(none).toMatchObject({ stdout: "", exitCode: 2 });
  expect(none.stderr).toContain("Usage: ");
});

test("ends well when nobody reads the help to its end", () => {
  const shell = Bun.spawnSync([
    "sh",
    "-c",
    '{ "$0" "$1" --help; echo "code $?" >&2; } | true',
    process.execPath,
    SCRIPT,
  ]);
  expect(shell.stderr.toString()).toBe("code 0\n");
});
