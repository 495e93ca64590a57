import { futexWait, futexWake } from "../../../host/futex.ts";
import { type ThreadControl, ThreadState } from "../../../threads/control.ts";
import type { TransportBlock } from "./state.ts";

/** Who has a queue's rings. */
const Owner = {
  /** Nobody: the driver's registers may change. */
  NOBODY: 0,
  /** Offered to the back end, which has not looked yet. */
  OFFERED: 1,
  BACK_END: 2,
  /** The back end is to let go of it. */
  RECALLED: 3,
} as const;

/** A thread that ends without a word is noticed this soon, in milliseconds. */
const LIVENESS_MS = 20;

/**
 * How queues pass from the vCPU that writes DRIVER_OK to the threads of the back end, and back at a reset: one word in
 * shared memory for each queue. No thread but these two takes part, and neither waits for one that is not there.
 */
export class QueueHandover {
  readonly #words: Int32Array;
  readonly #address: number;

  constructor({ handover, handoverAddress }: TransportBlock) {
    this.#words = handover;
    this.#address = handoverAddress;
  }

  /** vCPU: gives a queue to the back end's thread. */
  offer(queue: number, thread: ThreadControl): void {
    Atomics.store(this.#words, queue, Owner.OFFERED);
    thread.wake();
  }

  /** vCPU: asks for a queue back. One that the back end has not taken yet comes back at once. */
  recall(queue: number, thread: ThreadControl): void {
    Atomics.compareExchange(this.#words, queue, Owner.OFFERED, Owner.NOBODY);
    if (Atomics.compareExchange(this.#words, queue, Owner.BACK_END, Owner.RECALLED) === Owner.BACK_END) thread.wake();
  }

  /**
   * vCPU: waits until a recalled queue is back. That of a thread that has ended counts as back.
   * @returns whether it is, within `timeoutMs`
   */
  awaitReturn(queue: number, thread: ThreadControl, timeoutMs: number): boolean {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const owner = Atomics.load(this.#words, queue);
      if (owner === Owner.NOBODY) return true;
      if (thread.state === ThreadState.STOPPED) {
        Atomics.store(this.#words, queue, Owner.NOBODY);
        return true;
      }
      const left = deadline - performance.now();
      if (left <= 0) return false;
      futexWait(this.#address + 4 * queue, owner, Math.min(left, LIVENESS_MS));
    }
  }

  /** Back end: takes a queue that is offered. */
  accept(queue: number): boolean {
    return Atomics.compareExchange(this.#words, queue, Owner.OFFERED, Owner.BACK_END) === Owner.OFFERED;
  }

  /** Back end: whether a queue is asked for. */
  isRecalled(queue: number): boolean {
    return Atomics.load(this.#words, queue) === Owner.RECALLED;
  }

  /** Back end: gives a queue back, after the last access to its rings and buffers. */
  release(queue: number): void {
    Atomics.store(this.#words, queue, Owner.NOBODY);
    futexWake(this.#address + 4 * queue, 0x7fff_ffff);
  }
}
