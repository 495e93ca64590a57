import { WORKER_ARGUMENTS } from "../host/libc.ts";
import { type Failure, ThreadError } from "./failure.ts";

/** What a worker says of a job: something on the way, and then its result or why there is none. */
export type JobAnswer<R, N> =
  | { readonly kind: "notice"; readonly notice: N }
  | { readonly kind: "done"; readonly result: R }
  | { readonly kind: "failed"; readonly failure: Failure }
  /** It has given back all that was its own, and can be ended. */
  | { readonly kind: "left" };

/** Sent to a worker in place of a job when there will be no more. */
export const LEAVE = "leave";

/**
 * A worker thread as the main thread sees it. It does one job at a time; while it works it may be blocked in the kernel
 * and is steered through a `ThreadControl`. Between jobs it waits for messages, so one thread serves many VM lives.
 */
export class WorkerThread<Job, Result, Notice = never> {
  readonly name: string;
  readonly #worker: Worker;
  #settle: { resolve: (result: Result) => void; reject: (error: Error) => void } | undefined;
  #onNotice: ((notice: Notice) => void) | undefined;
  #failed: ThreadError | undefined;
  readonly #gone = Promise.withResolvers<void>();

  /**
   * Starts the thread.
   * @param name as in ps and in error messages
   * @param entry the module that calls `serveJobs`
   */
  constructor(name: string, entry: string) {
    this.name = name;
    this.#worker = new Worker(entry, { name, smol: true, argv: [...WORKER_ARGUMENTS] });
    this.#worker.onmessage = ({ data }: MessageEvent<JobAnswer<Result, Notice>>) => {
      if (data.kind === "notice") this.#onNotice?.(data.notice);
      else if (data.kind === "done") this.#take()?.resolve(data.result);
      else if (data.kind === "failed") this.#fail(data.failure);
      else this.#worker.terminate();
    };
    this.#worker.addEventListener("close", () => this.#gone.resolve());
    this.#worker.onerror = ({ message }) => this.#fail([{ name: "Error", message }]);
  }

  /**
   * Gives the thread a job.
   * @param onNotice told what the job reports while it goes on
   * @returns its result, when the job is over
   * @throws ThreadError when the thread fails, at any time
   */
  run(job: Job, onNotice?: (notice: Notice) => void): Promise<Result> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed);
    if (this.#settle !== undefined) throw new Error(`thread ${this.name} has a job already`);
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#onNotice = onNotice;
      this.#worker.postMessage(job);
    });
  }

  /** Ends the thread. Its job must be over. @returns when it is gone, and all that it had of its own */
  end(): Promise<void> {
    this.#worker.postMessage(LEAVE);
    return this.#gone.promise;
  }

  /** Ends the thread at once: what it had of its own goes with the process. */
  terminate(): void {
    this.#worker.terminate();
  }

  #take(): { resolve: (result: Result) => void; reject: (error: Error) => void } | undefined {
    const settle = this.#settle;
    this.#settle = undefined;
    return settle;
  }

  #fail(failure: Failure): void {
    this.#failed = new ThreadError(this.name, failure);
    this.#take()?.reject(this.#failed);
  }
}
