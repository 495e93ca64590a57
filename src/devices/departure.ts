import { type BlockRef, blockAt } from "../threads/block-ref.ts";

/** How the main thread has a device leave a thread that goes on serving others: a word in memory that both see. */
export class Departure {
  /** Bytes of a block, zeroed at first. */
  static readonly size = 8;
  readonly #word: Int32Array;

  constructor(ref: BlockRef) {
    this.#word = blockAt(ref).i32;
  }

  /** The device is to leave. Its thread has to be woken then. */
  ask(): void {
    Atomics.store(this.#word, 0, 1);
  }

  get isAsked(): boolean {
    return Atomics.load(this.#word, 0) !== 0;
  }
}
