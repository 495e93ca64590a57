import { setThreadAffinity } from "../host/thread.ts";
import { blockAt } from "../threads/block-ref.ts";
import { ThreadControl } from "../threads/control.ts";
import type { JobBase } from "./jobs.ts";
import { startThreadLog } from "./thread-log.ts";

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
    if (affinity !== undefined) setThreadAffinity(affinity);
    return work(control);
  } finally {
    control.leave();
  }
}
