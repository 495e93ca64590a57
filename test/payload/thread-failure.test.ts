import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildPayload } from "./build.ts";

const SCRIPT = join(import.meta.dir, "faulty-vmm.ts");
const TIMEOUT_MS = 30_000;

/** Runs the VMM until its guest is up, breaks one of its threads, and tells how it ended. */
async function breakThread(kind: string): Promise<{ exitCode: number; stderr: string }> {
  const folder = mkdtempSync(join(tmpdir(), "payload-fault-"));
  try {
    const disk = join(folder, "disk.raw");
    writeFileSync(disk, "");
    truncateSync(disk, 16 << 20);
    const kernel = await buildPayload("state");
    const argv = ["--kernel", kernel, "--memory", "size=64M", "--cmdline", "wait=ram moves=1"];
    argv.push("--serial", "tty", "--console", "null", "--disk", `path=${disk},image_type=raw`);
    const vmm = Bun.spawn([process.execPath, SCRIPT, kind, ...argv], {
      stdio: ["pipe", "pipe", "pipe"],
      // Bun would keep what it makes of sources, which no filter of ours lets it.
      env: { ...process.env, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
    });
    const timer = setTimeout(() => vmm.kill("SIGKILL"), TIMEOUT_MS);
    let output = "";
    for await (const chunk of vmm.stdout.pipeThrough(new TextDecoderStream())) {
      output += chunk;
      if (output.includes("READY")) break;
    }
    vmm.stdin.write("now\n");
    vmm.stdin.flush();
    const [exitCode, stderr] = await Promise.all([vmm.exited, new Response(vmm.stderr).text()]);
    clearTimeout(timer);
    return { exitCode, stderr };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("a thread that fails ends the process with an error that names it", () => {
  for (const [kind, thread] of [
    ["vcpu", "vcpu0"],
    ["block", "_disk0_q0"],
    ["io", "io"],
  ] as const)
    test(
      kind,
      async () => {
        const { exitCode, stderr } = await breakThread(kind);
        expect(stderr).toContain(`0: thread ${thread} failed`);
        expect(stderr).toContain("EBADF");
        expect(exitCode).toBe(1);
      },
      TIMEOUT_MS,
    );
});
