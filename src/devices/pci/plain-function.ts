import { type BlockRef, blockAt } from "../../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../../threads/state-block.ts";
import type { BusAccess } from "../bus.ts";
import type { StatefulDevice } from "../device.ts";
import type { Bar, BarMover } from "./bar.ts";
import type { ConfigLayout } from "./config-layout.ts";
import { ConfigSpace, configSpaceState } from "./config-space.ts";
import type { PciFunction } from "./function.ts";

/**
 * A function whose only state is its configuration space: what subclasses add is the meaning of their BARs' registers.
 * Neither interrupts nor capabilities of its own.
 */
export abstract class PlainFunction implements PciFunction, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(configSpaceState);
  readonly bars: readonly Bar[];
  readonly #block: StateBlockOf<typeof configSpaceState>;
  readonly #config: ConfigSpace;
  readonly #mover: BarMover;

  /**
   * @param block `PlainFunction.blockSize` bytes
   * @param moved told of each BAR that is mapped elsewhere, before any access is decoded there
   */
  constructor(
    layout: ConfigLayout,
    block: BlockRef,
    mover: BarMover,
    moved?: (bar: Bar, from: number, to: number) => void,
  ) {
    this.#block = new StateBlock(configSpaceState, blockAt(block));
    this.#config = new ConfigSpace(layout, this.#block.state, mover, moved);
    this.#mover = mover;
    this.bars = this.#config.bars;
  }

  reset(): void {
    this.#config.reset();
    this.#mover.remapped();
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
    this.#config.validate();
    this.#mover.remapped();
  }

  /** Takes the function away from the guest for good. For the main thread, when no vCPU can reach it any more. */
  unplug(): void {}

  readConfig(offset: number, size: number): number {
    this.#block.lock.acquire();
    const value = this.#config.read(offset, size);
    this.#block.lock.release();
    return value;
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.#block.lock.acquire();
    try {
      this.#config.write(offset, size, value);
    } finally {
      this.#block.lock.release();
    }
  }

  abstract readBar(bar: number, access: BusAccess): void;
  abstract writeBar(bar: number, access: BusAccess): void;
}
