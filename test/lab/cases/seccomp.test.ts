import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { KINDS } from "../../payload/seccomp/kinds.ts";
import { runProbe } from "../../payload/seccomp/run-probe.ts";

/** How many messages of a kind the kernel logs in five seconds. */
const BURST = "/proc/sys/kernel/printk_ratelimit_burst";
let burst = "";

beforeAll(() => {
  burst = readFileSync(BURST, "utf8");
  writeFileSync(BURST, "10000");
});
afterAll(() => writeFileSync(BURST, burst));

/** Records of the kernel about seccomp (linux/audit.h, AUDIT_SECCOMP). */
function records(): string[] {
  const { stdout, exitCode } = Bun.spawnSync(["dmesg"]);
  expect(exitCode).toBe(0);
  return stdout
    .toString()
    .split("\n")
    .filter((line) => line.includes("type=1326"));
}

function probe(kind: string, mode: string, ...acts: string[]): { stdout: string; stderr: string; signal: string } {
  const { stdout, stderr, signalCode } = runProbe(kind, mode, ...acts);
  return { stdout: String(stdout), stderr: String(stderr), signal: String(signalCode) };
}

for (const kind of KINDS)
  test(`what the list of ${kind} forbids is stopped, or logged by the kernel and done`, () => {
    const logged = records().length;
    const free = probe(kind, "false").stdout;
    expect(JSON.parse(free)).not.toEqual([]);
    expect(probe(kind, "log").stdout).toBe(free);
    const calls = records()
      .slice(logged)
      .map((line) => / syscall=(\d+) /.exec(line)?.[1]);
    // execve, mount, and memory that becomes executable.
    expect(calls).toEqual(expect.arrayContaining(["59", "165", "10"]));
    expect(probe(kind, "errno").stdout).not.toBe(free);
    const { signal, stderr } = probe(kind, "trap", "ptrace");
    expect(signal).toBe("SIGSYS");
    expect(stderr).toContain("Probable seccomp violation: si_syscall=101 ");
  }, 120_000);
