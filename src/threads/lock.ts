import { futexWait, futexWake } from "../host/futex.ts";

const FREE = 0;
const HELD = 1;
const CONTENDED = 2;
/** A device's critical section is a few register accesses: shorter than going to sleep and back. */
const SPINS = 100;

/**
 * A mutual exclusion lock between the threads of the process: one 32-bit word in shared memory, that sleeps in the kernel
 * only when contended. Not recursive.
 */
export class Lock {
  readonly #word: Int32Array;
  readonly #address: number;

  /**
   * @param word memory whose first element is the lock word, zero when free
   * @param address where that word lies
   */
  constructor(word: Int32Array, address: number) {
    this.#word = word;
    this.#address = address;
  }

  /** Waits until the lock is free and takes it. */
  acquire(): void {
    const word = this.#word;
    if (Atomics.compareExchange(word, 0, FREE, HELD) === FREE) return;
    for (let i = 0; i < SPINS; i++) if (Atomics.compareExchange(word, 0, FREE, HELD) === FREE) return;
    while (Atomics.exchange(word, 0, CONTENDED) !== FREE) futexWait(this.#address, CONTENDED);
  }

  /** Gives the lock back, waking one waiter. */
  release(): void {
    if (Atomics.exchange(this.#word, 0, FREE) === CONTENDED) futexWake(this.#address, 1);
  }
}
