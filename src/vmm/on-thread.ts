import { setThreadAffinity } from "../host/thread.ts";
import { blockAt } from "../threads/block-ref.ts";
import { ThreadControl } from "../threads/control.ts";
import type { JobBase } from "./jobs.ts";
import { startThreadLog } from "./thread-log.ts";

/** Host CPUs that a thread cannot be bound to. */
export class AffinityError extends Error {
  override readonly name = "AffinityError";
}

function bind(name: string, cpus: readonly number[]): void {
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
    if (affinity !== undefined) bind(name, affinity);
    return work(control);
  } finally {
    control.leave();
  }
}
