import { threadStatuses } from "../unit/thread-statuses.ts";

/** Threads that the monitor starts; the runtime's helpers and the kernel's own for KVM and io_uring come and go. */
const OWN = /^(vcpu\d+|io|_.*_q\d+|http-server)$/;

/** The names of a process's threads. */
export function threadNames(pid: number): string[] {
  return threadStatuses(pid).map(({ name }) => name);
}

/** The names of the threads that the monitor has started itself. */
export function monitorThreads(pid: number): string[] {
  return threadNames(pid).filter((name) => OWN.test(name));
}

/** A field of the status of each thread of a process, without repetitions. */
export function ofThreads(pid: number, field: string): readonly string[] {
  return [...new Set(threadStatuses(pid).map((thread) => thread.field(field)))];
}

/** How often a thread of a process has gone to sleep, which it has each time that it was woken. */
export function sleepsOf(pid: number, thread: string): number {
  const found = threadStatuses(pid).find(({ name }) => name === thread);
  if (found === undefined) throw new Error(`process ${pid} has no thread ${thread}`);
  return Number(found.field("voluntary_ctxt_switches"));
}
