import type { GuestNotice } from "../devices/notices.ts";
import { WorkerThread } from "../threads/worker.ts";
import { WORKERS } from "../workers.ts";
import type { BlockJob, CoreDumpJob, IoJob, NetJob, VcpuJob } from "./jobs.ts";
import type { VcpuOutcome } from "./vcpu-loop.ts";

/** What each kind of worker is given and what it answers. */
interface Kinds {
  readonly vcpu: { readonly job: VcpuJob; readonly result: VcpuOutcome };
  readonly io: { readonly job: IoJob; readonly result: unknown };
  readonly block: { readonly job: BlockJob; readonly result: unknown };
  readonly coreDump: { readonly job: CoreDumpJob; readonly result: unknown };
  readonly net: { readonly job: NetJob; readonly result: unknown };
}

/**
 * The worker threads of the process. A VM takes the ones it needs by name; the next VM - after a reboot, or another boot
 * through the API - finds them again instead of paying for new ones.
 */
export class ThreadPool {
  readonly #threads = new Map<string, WorkerThread<unknown, unknown, GuestNotice>>();

  /** The thread of that name, started when there is none yet. */
  thread<K extends keyof Kinds>(kind: K, name: string): WorkerThread<Kinds[K]["job"], Kinds[K]["result"], GuestNotice> {
    const existing = this.#threads.get(name);
    if (existing !== undefined) return existing as WorkerThread<Kinds[K]["job"], Kinds[K]["result"], GuestNotice>;
    const thread = new WorkerThread<Kinds[K]["job"], Kinds[K]["result"], GuestNotice>(name, WORKERS[kind]);
    this.#threads.set(name, thread as WorkerThread<unknown, unknown, GuestNotice>);
    return thread;
  }

  /** Ends a thread, which has no job. @returns when it is gone */
  async end(name: string): Promise<void> {
    const thread = this.#threads.get(name);
    this.#threads.delete(name);
    await thread?.end();
  }

  /** Ends all threads. None may have a job. @returns when they are gone */
  async endAll(): Promise<void> {
    await Promise.all([...this.#threads.keys()].map((name) => this.end(name)));
  }

  /** Ends all threads at once. None may have a job. */
  close(): void {
    for (const thread of this.#threads.values()) thread.terminate();
    this.#threads.clear();
  }
}
