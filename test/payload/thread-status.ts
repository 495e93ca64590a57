import { readdirSync, readFileSync } from "node:fs";

/** A field of the status of each thread of a process, without repetitions. */
export function ofThreads(pid: number, field: string): readonly string[] {
  const values = readdirSync(`/proc/${pid}/task`).map((tid) => {
    const status = readFileSync(`/proc/${pid}/task/${tid}/status`, "latin1");
    return new RegExp(`^${field}:\\s*(\\S+)`, "m").exec(status)?.[1] ?? "none";
  });
  return [...new Set(values)];
}
