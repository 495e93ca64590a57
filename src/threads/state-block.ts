import type { MemoryBlock } from "../host/memory-block.ts";
import type { StructType, View } from "../host/struct.ts";
import { Lock } from "./lock.ts";

/** The lock word and its padding come first, so that the state is 8-byte aligned. */
const STATE_OFFSET = 8;

/**
 * A device's shared memory: its lock, then its state, a structure of fixed layout. Every thread makes its own `StateBlock`
 * over the same bytes. The bytes of `state` alone are what a snapshot of the device holds.
 */
export class StateBlock<F> {
  readonly lock: Lock;
  /** The state, to be read and written while holding `lock` unless the device documents another protocol. */
  readonly state: View<F>;
  readonly #bytes: Uint8Array;

  /**
   * @param type the state's structure
   * @param block memory of `StateBlock.sizeOf(type)` bytes, zeroed when the device is new
   */
  constructor(type: StructType<F>, block: MemoryBlock) {
    this.lock = new Lock(block.i32, block.address);
    this.state = type.at(block, STATE_OFFSET);
    this.#bytes = block.u8.subarray(STATE_OFFSET, STATE_OFFSET + type.size);
  }

  /** Bytes that a block for `type` needs. */
  static sizeOf(type: StructType<unknown>): number {
    return STATE_OFFSET + type.size;
  }

  /** A copy of the state, taken under the lock. */
  save(): Uint8Array {
    this.lock.acquire();
    const copy = this.#bytes.slice();
    this.lock.release();
    return copy;
  }

  /**
   * Puts a saved state back, under the lock.
   * @throws RangeError when its size is not this state's
   */
  restore(saved: Uint8Array): void {
    if (saved.length !== this.#bytes.length)
      throw new RangeError(`saved state of ${saved.length} bytes where ${this.#bytes.length} are expected`);
    this.lock.acquire();
    this.#bytes.set(saved);
    this.lock.release();
  }
}

/** The block type of a structure type: `StateBlockOf<typeof serialState>`. */
export type StateBlockOf<S> = S extends StructType<infer F> ? StateBlock<F> : never;
