import { Departure } from "../devices/departure.ts";
import type { NoticeListener } from "../devices/notices.ts";
import { isVirtio } from "../machine/pci-devices.ts";
import type { QueueThread } from "./devices/builder.ts";
import type { PlacedDevice } from "./devices/placed-device.ts";
import type { IoJob, JobBase } from "./jobs.ts";
import type { ThreadPool } from "./thread-pool.ts";
import type { VmThread } from "./vm-thread.ts";

/** Describes the job of a thread, but for what it serves. */
export type DescribeJob = (thread: VmThread, affinity?: readonly number[]) => JobBase;

/** The threads that serve the devices of a VM. They come and go with their devices. */
export class DeviceThreads {
  readonly #pool: ThreadPool;
  readonly #describe: DescribeJob;
  readonly #onNotice: NoticeListener;
  /** Those at work, and when their jobs are over. */
  readonly #jobs = new Map<VmThread, Promise<unknown>>();
  /** Who waits for a device to leave a thread, by its id. */
  readonly #leaving = new Map<string, () => void>();
  readonly #failure = Promise.withResolvers<never>();

  constructor(pool: ThreadPool, describe: DescribeJob, onNotice: NoticeListener) {
    this.#pool = pool;
    this.#describe = describe;
    this.#onNotice = onNotice;
    // Whoever waits for the end of the VM learns of it; until then it must not count as unhandled.
    this.#failure.promise.catch(() => undefined);
  }

  /** Never settles well. @throws ThreadError when a thread fails that was serving its queues, or had to */
  get failure(): Promise<never> {
    return this.#failure.promise;
  }

  /**
   * Starts the threads of a device's own.
   * @returns when they serve its queues
   * @throws ThreadError when one cannot set itself up
   */
  async startDevice({ wiring, queueThreads, ioThread }: PlacedDevice): Promise<void> {
    const starts = queueThreads.map((queueThread) => this.#startQueue(queueThread));
    if (ioThread !== undefined && isVirtio(wiring))
      starts.push(this.startIo(ioThread, { devices: [{ wiring, departure: undefined }], platform: false }));
    await Promise.all(starts);
  }

  /** Starts a thread that serves devices of little traffic, as `startDevice` does. */
  startIo(thread: VmThread, work: Omit<IoJob, keyof JobBase>): Promise<void> {
    const job = { ...this.#describe(thread), ...work };
    return this.#watch(thread, (onNotice) => this.#pool.thread("io", thread.name).run(job, onNotice));
  }

  /** Makes it a failure of the VM when one of these threads cannot set itself up. */
  require(starts: readonly Promise<void>[]): void {
    for (const start of starts) start.catch(this.#failure.reject);
  }

  /** Parks all threads. @throws ThreadStuckError */
  pause(): void {
    for (const thread of this.#jobs.keys()) thread.pause();
    for (const thread of this.#jobs.keys()) thread.waitParked();
  }

  /** @throws ThreadStuckError */
  resume(): void {
    for (const thread of this.#jobs.keys()) thread.resume();
  }

  /** Ends the jobs of threads, and the threads as well. @throws ThreadError */
  async end(threads: readonly VmThread[]): Promise<void> {
    await this.#stop(threads);
    await Promise.all(threads.map(({ name }) => this.#pool.end(name)));
  }

  /**
   * Has a device leave the thread that it shares with others, which must not be parked.
   * @returns when the thread uses nothing of it any more
   */
  async letGo(thread: VmThread, { id, departure }: PlacedDevice): Promise<void> {
    if (departure === undefined) return;
    const left = Promise.withResolvers<void>();
    this.#leaving.set(id, left.resolve);
    new Departure(departure).ask();
    thread.control.wake();
    await left.promise;
    this.#leaving.delete(id);
  }

  /** Ends all threads: one that serves may not set itself up again. @throws ThreadError */
  stop(): Promise<void> {
    return this.end([...this.#jobs.keys()]);
  }

  async #stop(threads: readonly VmThread[]): Promise<void> {
    for (const thread of threads) if (this.#jobs.has(thread)) thread.stop();
    await Promise.all(threads.map((thread) => this.#jobs.get(thread)));
    for (const thread of threads) this.#jobs.delete(thread);
  }

  #startQueue(entry: QueueThread): Promise<void> {
    const { thread, affinity } = entry;
    const { name } = thread;
    const job = this.#describe(thread, affinity);
    switch (entry.kind) {
      case "block": {
        const { device, queues } = entry;
        return this.#watch(thread, (notice) =>
          this.#pool.thread("block", name).run({ ...job, device, queues }, notice),
        );
      }
      case "net": {
        const { device, queue } = entry;
        return this.#watch(thread, (notice) => this.#pool.thread("net", name).run({ ...job, device, queue }, notice));
      }
    }
  }

  #watch(thread: VmThread, run: (onNotice: NoticeListener) => Promise<unknown>): Promise<void> {
    const serving = Promise.withResolvers<void>();
    let isServing = false;
    const job = run((notice) => {
      if (notice.kind === "left") return this.#leaving.get(notice.id)?.();
      if (notice.kind !== "serving") return this.#onNotice(notice);
      isServing = true;
      serving.resolve();
    });
    this.#jobs.set(thread, job);
    job.then(
      () => serving.resolve(),
      (error) => {
        if (isServing) return this.#failure.reject(error);
        this.#jobs.delete(thread);
        this.#pool.end(thread.name).then(() => serving.reject(error));
      },
    );
    return serving.promise;
  }
}
