import { readdirSync, readFileSync } from "node:fs";
import { PAGE_SIZE } from "../../host/mmap.ts";

/** A thread of this process, or all of one name together. */
export interface ThreadTime {
  readonly name: string;
  readonly cpuSeconds: number;
}

/** What the kernel says of this process. */
export interface ProcessNumbers {
  readonly threads: readonly ThreadTime[];
  readonly threadCount: number;
  /** All threads, those that have ended included. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly virtualBytes: number;
  readonly openFds: number;
  readonly maxFds: number;
  /** Seconds since 1970 UTC. */
  readonly startSeconds: number;
}

const read = (path: string): string => readFileSync(`/proc/self/${path}`, "latin1");

/** Looks at /proc: a few microseconds a thread. */
export function processNumbers(): ProcessNumbers {
  const byName = new Map<string, number>();
  const tids = readdirSync("/proc/self/task");
  for (const tid of tids) {
    const time = threadTime(tid);
    if (time !== undefined) byName.set(time.name, (byName.get(time.name) ?? 0) + time.cpuSeconds);
  }
  const [virtualPages = 0, residentPages = 0] = read("statm").split(" ").map(Number);
  const { user, system } = process.cpuUsage();
  const limit = /^Max open files\s+(\d+|unlimited)/m.exec(read("limits"))?.[1];
  return {
    threads: [...byName].map(([name, cpuSeconds]) => ({ name, cpuSeconds })),
    threadCount: tids.length,
    cpuSeconds: (user + system) / 1e6,
    residentBytes: residentPages * PAGE_SIZE,
    virtualBytes: virtualPages * PAGE_SIZE,
    // Less the one for reading the folder.
    openFds: readdirSync("/proc/self/fd").length - 1,
    maxFds: limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit),
    startSeconds: performance.timeOrigin / 1000,
  };
}

function threadTime(tid: string): ThreadTime | undefined {
  try {
    const [ns = 0] = read(`task/${tid}/schedstat`).split(" ").map(Number);
    return { name: read(`task/${tid}/comm`).trimEnd(), cpuSeconds: ns / 1e9 };
  } catch (error) {
    // It has ended since it was listed.
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH"))
      return undefined;
    throw error;
  }
}
