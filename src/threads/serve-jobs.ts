import { unbindLibc } from "../host/libc.ts";
import { unmapForThread } from "../host/mmap.ts";
import { toFailure } from "./failure.ts";
import { type JobAnswer, LEAVE } from "./worker.ts";

declare const self: Worker;

/**
 * The worker's side of `WorkerThread`: does each job as it comes. A job may block for as long as it likes.
 * @param work does a job and returns its result, which must survive a structured clone. While it goes on it can `notify`
 *   the main thread, whose event loop is told at once.
 */
export function serveJobs<Job, Result, Notice = never>(
  work: (job: Job, notify: (notice: Notice) => void) => Result | Promise<Result>,
): void {
  const answer = (message: JobAnswer<Result, Notice>): void => self.postMessage(message);
  const notify = (notice: Notice): void => answer({ kind: "notice", notice });
  self.onmessage = async ({ data }: MessageEvent<Job | typeof LEAVE>) => {
    if (data === LEAVE) {
      unmapForThread();
      unbindLibc();
      answer({ kind: "left" });
      return;
    }
    try {
      answer({ kind: "done", result: await work(data, notify) });
      // What was compiled for this job would stay for the thread's next one, and more be compiled for that.
      setImmediate(Bun.shrink);
    } catch (error) {
      answer({ kind: "failed", failure: toFailure(error) });
    }
  };
  // A job may never return to the event loop, where garbage is collected: what loading left behind goes before the first.
  queueMicrotask(() => Bun.gc(true));
}
