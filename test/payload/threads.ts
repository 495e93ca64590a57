import { readdirSync, readFileSync } from "node:fs";

/** Threads that the monitor starts; the runtime's helpers and the kernel's own for KVM and io_uring come and go. */
const OWN = /^(vcpu\d+|io|_.*_q\d+|http-server)$/;

/** The names of a process's threads. */
export function threadNames(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    try {
      return readFileSync(`/proc/${pid}/task/${tid}/comm`, "latin1").trim();
    } catch (error) {
      // Gone since it was listed.
      if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return [];
      throw error;
    }
  });
}

/** The names of the threads that the monitor has started itself. */
export function monitorThreads(pid: number): string[] {
  return threadNames(pid).filter((name) => OWN.test(name));
}
