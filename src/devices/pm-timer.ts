import { monotonicNs } from "../host/clock.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { struct, u32 } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";

/** ACPI 6.5, 4.8.3.3. */
const TICKS_PER_SECOND = 3_579_545;

const pmTimerState = struct("PM timer state", {
  /** What the counter read when the machine was created; in a saved state, what it read then. */
  base: u32,
});

/** The ACPI power management timer at port 0x608: a free-running 32-bit counter, read as a whole. */
export class PmTimer implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(pmTimerState);
  readonly #block: StateBlockOf<typeof pmTimerState>;
  readonly #startNs: number;
  readonly #clock: () => number;

  /**
   * @param memory `PmTimer.blockSize` bytes of the shared arena
   * @param startNs when the machine was created, in nanoseconds of the monotonic clock
   */
  constructor(memory: MemoryBlock, startNs: number, clock = monotonicNs) {
    this.#block = new StateBlock(pmTimerState, memory);
    this.#startNs = startNs;
    this.#clock = clock;
  }

  reset(): void {
    this.#block.state.base = 0;
  }

  save(): Uint8Array {
    const { state } = this.#block;
    const { base } = state;
    state.base = this.#counter();
    const saved = this.#block.save();
    state.base = base;
    return saved;
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
    const { state } = this.#block;
    state.base = (state.base - this.#ticks()) >>> 0;
  }

  read(access: BusAccess): void {
    if (access.size === 4 && access.offset === 0) access.lo = this.#counter();
  }

  write(): void {}

  #counter(): number {
    return (this.#block.state.base + this.#ticks()) >>> 0;
  }

  /** Ticks since the machine was created, modulo 2^32. */
  #ticks(): number {
    return Math.floor(((this.#clock() - this.#startNs) / 1e9) * TICKS_PER_SECOND) >>> 0;
  }
}
