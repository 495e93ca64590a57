import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FuzzJob, FuzzReport } from "./job.ts";
import { Progress } from "./progress.ts";
import { loadTarget } from "./registry.ts";

/** A run that computes for longer hangs. Processor time, so that a busy machine makes no difference. */
const MOST_RUN_MS = 1000;
/** A run that waits for longer hangs. */
const MOST_WAIT_MS = 10_000;
const MOST_RSS_BYTES = 1 << 30;
const LOOK_MS = 100;
/** USER_HZ, which is the same on every x86-64 Linux. */
const TICK_MS = 10;
const PAGE_BYTES = 4096;
/** Where files of targets had best be: they are many, and some are synchronised. */
const IN_MEMORY = "/dev/shm";

/** What a fuzzing process came to. */
export type Outcome =
  | { readonly kind: "done"; readonly runs: number; readonly places: number; readonly kept: readonly Uint8Array[] }
  | {
      readonly kind: "finding";
      readonly run: number;
      readonly error: string;
      readonly input: Uint8Array;
      /** Whether the input alone is known to do it. */
      readonly repeats: boolean;
    };

/** Runs a job in a process of its own, and ends that when it hangs or grows without bound. */
export async function watch(job: Omit<FuzzJob, "progress" | "report">): Promise<Outcome> {
  const folder = mkdtempSync(join(existsSync(IN_MEMORY) ? IN_MEMORY : tmpdir(), "fuzz-"));
  try {
    const path = join(folder, "progress");
    const progress = new Progress(path, (await loadTarget(job.target)).maxBytes);
    const report = join(folder, "report");
    let complaint: Outcome | undefined;
    const command = JSON.stringify({ ...job, progress: path, report } satisfies FuzzJob);
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "child.ts"), command], {
      stdio: ["ignore", "inherit", "pipe"],
      env: { ...process.env, TMPDIR: folder },
    });
    const stop = (): void => child.kill("SIGKILL");
    process.on("exit", stop);
    const said = new Response(child.stderr).text();
    const timer = setInterval(
      look(child.pid, progress, (error) => {
        complaint ??= { kind: "finding", run: progress.runs, error, input: progress.input, repeats: true };
        child.kill("SIGKILL");
      }),
      LOOK_MS,
    );
    await child.exited;
    clearInterval(timer);
    process.off("exit", stop);
    if (complaint !== undefined) return complaint;
    if (child.exitCode === 0 && existsSync(report)) return outcomeOf(JSON.parse(readFileSync(report, "utf8")));
    const how = child.signalCode ?? `status ${child.exitCode}`;
    const lines = (await said).trim().split("\n").slice(-20).join("\n");
    return {
      kind: "finding",
      run: progress.runs,
      error: `the process ended with ${how}\n${lines}`,
      input: progress.input,
      repeats: false,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function outcomeOf(report: FuzzReport): Outcome {
  return report.kind === "done"
    ? { ...report, kept: report.kept.map((text) => Buffer.from(text, "base64")) }
    : { ...report, input: Buffer.from(report.input, "base64") };
}

/** Looks at a process every now and then. @param complain called when it hangs or has grown too large */
function look(pid: number, progress: Progress, complain: (error: string) => void): () => void {
  let run = -1;
  let since = { ms: 0, cpuMs: 0 };
  return () => {
    const now = { ms: performance.now(), cpuMs: cpuMs(pid) };
    if (!progress.isRunning || progress.runs !== run) {
      run = progress.runs;
      since = now;
    } else if (now.cpuMs - since.cpuMs > MOST_RUN_MS || now.ms - since.ms > MOST_WAIT_MS)
      complain(`a run hangs: it takes more than ${MOST_RUN_MS} ms of computing or ${MOST_WAIT_MS} ms of waiting`);
    const rss = rssBytes(pid);
    if (rss > MOST_RSS_BYTES) complain(`the process has grown to ${rss} bytes`);
  };
}

function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    // It has just ended.
    return "";
  }
}

/** utime and stime, proc_pid_stat(5). */
function cpuMs(pid: number): number {
  const stat = procFile(pid, "stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS;
}

const rssBytes = (pid: number): number => Number(procFile(pid, "statm").split(" ")[1] ?? 0) * PAGE_BYTES;
