import { createEventFd, drainEventFd, signalEventFd } from "../host/eventfd.ts";
import { futexWait, futexWake } from "../host/futex.ts";
import { libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { atomic32, i32, struct, type ViewOf } from "../host/struct.ts";
import { kickThread, setThreadName, threadId } from "../host/thread.ts";

/** What a thread is asked to do next. */
export const ThreadRequest = { RUN: 0, PAUSE: 1, STOP: 2 } as const;
export type ThreadRequest = (typeof ThreadRequest)[keyof typeof ThreadRequest];

/** What a thread has reached. */
export const ThreadState = { STARTING: 0, RUNNING: 1, PAUSED: 2, STOPPED: 3 } as const;
export type ThreadState = (typeof ThreadState)[keyof typeof ThreadState];

const threadControl = struct("thread control", {
  request: atomic32,
  state: atomic32,
  tid: i32,
  wakeFd: i32,
});

/**
 * The control channel of one worker thread. A worker blocked in a system call never runs its JavaScript event loop, so
 * it is steered through a word in shared memory and woken by an eventfd (threads that wait in epoll or io_uring) or by
 * the kick signal (vCPUs in KVM_RUN).
 */
export class ThreadControl {
  static readonly size = threadControl.size;
  readonly #view: ViewOf<typeof threadControl>;
  readonly #requestAddress: number;
  readonly #stateAddress: number;

  /** @param block `ThreadControl.size` bytes of the shared arena */
  constructor(block: MemoryBlock) {
    this.#view = threadControl.at(block);
    this.#requestAddress = block.address + threadControl.offsets.request;
    this.#stateAddress = block.address + threadControl.offsets.state;
  }

  /** Makes a new control's wake eventfd. For the main thread, before the worker starts. @throws SysError */
  open(): void {
    this.#view.wakeFd = createEventFd();
  }

  /** Closes the wake eventfd. For the main thread, after the worker has stopped. */
  close(): void {
    libc.close(this.#view.wakeFd);
  }

  /** The eventfd that tells the worker to look at `request` and at its devices. */
  get wakeFd(): number {
    return this.#view.wakeFd;
  }

  get request(): number {
    return Atomics.load(this.#view.request, 0);
  }

  get state(): number {
    return Atomics.load(this.#view.state, 0);
  }

  /** The worker introduces itself: its name for ps and its thread id for kicks. @throws SysError */
  enter(name: string): void {
    setThreadName(name);
    this.#view.tid = threadId();
    this.#setState(ThreadState.RUNNING);
  }

  /** Takes back the wake-up: called by the worker before it looks at what it was woken for. */
  drainWake(): void {
    drainEventFd(this.#view.wakeFd);
  }

  /**
   * The worker reports that it is parked and sleeps until it is asked to run or stop.
   * @returns the new request
   */
  park(): number {
    this.#setState(ThreadState.PAUSED);
    let request = this.request;
    while (request === ThreadRequest.PAUSE) {
      futexWait(this.#requestAddress, request);
      request = this.request;
    }
    this.#setState(ThreadState.RUNNING);
    return request;
  }

  /** The worker reports that it touches nothing of the VM any more. */
  leave(): void {
    this.#setState(ThreadState.STOPPED);
  }

  /** Asks the worker for something and wakes it, wherever it sleeps. The kick signal must have been installed. */
  ask(request: ThreadRequest): void {
    Atomics.store(this.#view.request, 0, request);
    futexWake(this.#requestAddress, 1);
    this.wake();
  }

  /** Makes the worker look at its request and its devices. */
  wake(): void {
    signalEventFd(this.#view.wakeFd);
    if (this.#view.tid !== 0) kickThread(this.#view.tid);
  }

  /**
   * Waits for the worker to reach a state, or to have stopped for good.
   * @returns whether it did within `timeoutMs`
   */
  waitFor(state: ThreadState, timeoutMs: number): boolean {
    const deadline = performance.now() + timeoutMs;
    for (let current = this.state; current !== state && current !== ThreadState.STOPPED; current = this.state) {
      const left = deadline - performance.now();
      if (left <= 0) return false;
      futexWait(this.#stateAddress, current, left);
    }
    return true;
  }

  #setState(state: ThreadState): void {
    Atomics.store(this.#view.state, 0, state);
    futexWake(this.#stateAddress, 0x7fff_ffff);
  }
}
