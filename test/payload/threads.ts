import { readdirSync, readFileSync } from "node:fs";

/** Threads that the monitor starts; the runtime's helpers and the kernel's own for KVM and io_uring come and go. */
const OWN = /^(vcpu\d+|io|_.*_q\d+|http-server)$/;

/** A process's threads. */
export function threadsOf(pid: number): { readonly tid: number; readonly name: string }[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    try {
      return { tid: Number(tid), name: readFileSync(`/proc/${pid}/task/${tid}/comm`, "latin1").trim() };
    } catch (error) {
      // Gone since it was listed.
      if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return [];
      throw error;
    }
  });
}

/** The names of a process's threads. */
export function threadNames(pid: number): string[] {
  return threadsOf(pid).map(({ name }) => name);
}

/** The names of the threads that the monitor has started itself. */
export function monitorThreads(pid: number): string[] {
  return threadNames(pid).filter((name) => OWN.test(name));
}

/** How often a thread of a process has gone to sleep, which it has each time that it was woken. */
export function sleepsOf(pid: number, thread: string): number {
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${tid}/status`, "latin1");
    if (new RegExp(`^Name:\t${thread}$`, "m").test(status))
      return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
  }
  throw new Error(`process ${pid} has no thread ${thread}`);
}
