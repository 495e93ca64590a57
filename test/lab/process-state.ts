import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

async function readOr(path: string, otherwise: string): Promise<string> {
  return Bun.file(path)
    .text()
    .catch(() => otherwise);
}

/**
 * What each thread of a process is doing, one line a thread: name, state, processor time in ticks, the system call or `running`, and
 * the kernel function it sleeps in (proc_pid_stat(5), proc_pid_syscall(5)). For the error of a test that waited in vain.
 */
export async function describeThreads(pid: number): Promise<string> {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return `process ${pid} is gone`;
  const lines: string[] = [];
  for (const task of await readdir(tasks)) {
    const stat = await readOr(join(tasks, task, "stat"), "");
    // "tid (name) state ppid ..."; the name may hold blanks and brackets. utime and stime are fields 14 and 15.
    const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const call = (await readOr(join(tasks, task, "syscall"), "?")).trim().split(" ").slice(0, 4).join(" ");
    const asleepIn = (await readOr(join(tasks, task, "wchan"), "?")).trim();
    lines.push(`${task} ${name}: ${fields[0]}, user ${fields[11]} system ${fields[12]}, call ${call}, in ${asleepIn}`);
  }
  return lines.join("\n");
}
