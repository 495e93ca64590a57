import { setThreadAffinity, threadAffinity } from "../host/thread.ts";
import { blockAt } from "../threads/block-ref.ts";
import { ThreadControl } from "../threads/control.ts";
import type { JobBase } from "./jobs.ts";
import { startThreadLog } from "./thread-log.ts";

/** Host CPUs that a thread cannot be bound to. */
export class AffinityError extends Error {
  override readonly name = "AffinityError";
}

/** Where the thread ran before a job bound it: it does so again for the next job that does not. */
let unbound: readonly number[] | undefined;

function place(name: string, affinity: readonly number[] | undefined): void {
  if (affinity !== undefined) unbound ??= threadAffinity();
  const cpus = affinity ?? unbound;
  if (cpus === undefined) return;
  try {
    setThreadAffinity(cpus);
  } catch (cause) {
    throw new AffinityError(
      `${name} cannot run on host CPUs ${cpus.join(", ")}: give affinity CPUs that this host has and allows`,
      { cause },
    );
  }
}

/**
 * Does a job on the calling worker thread: the thread has its name, log and place on the host while `work` runs, and its
 * control says that it has stopped when `work` is over, whichever way.
 */
export function onThread<T>(job: JobBase, work: (control: ThreadControl) => T): T {
  const { name, log, affinity } = job;
  const control = new ThreadControl(blockAt(job.control));
  control.enter(name);
  try {
    startThreadLog(name, log);
    place(name, affinity);
    return work(control);
  } finally {
    control.leave();
  }
}
