import type { MemoryBlock } from "../host/memory-block.ts";
import { struct, u32 } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";

/** The register that selects the segment the others speak of (PSEG in the DSDT). */
const SEGMENT = 0xc;

const pciHotplugState = struct("PCI hotplug controller state", { segment: u32 });

/**
 * The PCI hotplug controller's registers in the platform device area. No slot has been plugged or asked for after boot, so
 * the bitmaps of both read 0 and there is nothing to eject.
 */
export class PciHotplug implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(pciHotplugState);
  readonly #block: StateBlockOf<typeof pciHotplugState>;
  readonly #segments: number;

  /** @param memory `PciHotplug.blockSize` bytes of the shared arena */
  constructor(memory: MemoryBlock, segments: number) {
    this.#block = new StateBlock(pciHotplugState, memory);
    this.#segments = segments;
  }

  reset(): void {
    this.#block.state.segment = 0;
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
  }

  read(access: BusAccess): void {
    if (access.size !== 4) return;
    const { lock, state } = this.#block;
    lock.acquire();
    access.lo = access.offset === SEGMENT ? state.segment : 0;
    lock.release();
  }

  write(access: BusAccess): void {
    if (access.size !== 4 || access.offset !== SEGMENT || access.lo >= this.#segments) return;
    const { lock, state } = this.#block;
    lock.acquire();
    state.segment = access.lo;
    lock.release();
  }
}
