import { expect } from "bun:test";
import type { GuestNotice } from "../../../../src/devices/notices.ts";
import { installKickSignal } from "../../../../src/host/thread.ts";
import { refTo } from "../../../../src/threads/block-ref.ts";
import { ThreadRequest, ThreadState } from "../../../../src/threads/control.ts";
import { WorkerThread } from "../../../../src/threads/worker.ts";
import type { DeviceJob, ServedDevice } from "./device-worker.ts";
import type { TransportRig } from "./transport-rig.ts";
import { LIMIT_MS } from "./waits.ts";

installKickSignal();

/** An I/O thread that serves the device of a rig. */
export class DeviceThread implements AsyncDisposable {
  readonly #notices: GuestNotice[] = [];
  readonly #rig: TransportRig;
  readonly #worker: WorkerThread<DeviceJob, string>;
  readonly #done: Promise<string>;
  #heard: () => void = () => undefined;

  constructor(rig: TransportRig, device: ServedDevice) {
    this.#rig = rig;
    this.#worker = new WorkerThread("io", new URL("./device-worker.ts", import.meta.url).href);
    const job = { control: refTo(rig.controlBlock), regions: rig.memory.regions, device };
    this.#done = this.#worker.run(job, (notice) => {
      this.#notices.push(notice);
      this.#heard();
    });
    expect(rig.control.waitFor(ThreadState.RUNNING, LIMIT_MS)).toBe(true);
    rig.openInterrupts();
  }

  /** The next notice. */
  async notice(): Promise<GuestNotice> {
    for (;;) {
      const notice = this.#notices.shift();
      if (notice !== undefined) return notice;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#heard = resolve;
      await promise;
    }
  }

  /** All notices that are there or on their way. */
  async pending(): Promise<readonly GuestNotice[]> {
    await new Promise(setImmediate);
    return this.#notices.splice(0);
  }

  pause(): void {
    this.#ask(ThreadRequest.PAUSE, ThreadState.PAUSED);
  }

  resume(): void {
    this.#ask(ThreadRequest.RUN, ThreadState.RUNNING);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ask(ThreadRequest.STOP, ThreadState.STOPPED);
    expect(await this.#done).toBe("stopped");
    this.#worker.terminate();
  }

  #ask(request: ThreadRequest, state: ThreadState): void {
    this.#rig.control.ask(request);
    expect(this.#rig.control.waitFor(state, LIMIT_MS)).toBe(true);
  }
}
