import { type BlockRef, blockAt } from "../../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../../threads/state-block.ts";
import type { StatefulDevice } from "../device.ts";
import type { Bar, BarMover } from "./bar.ts";
import { ConfigLayout } from "./config-layout.ts";
import { ConfigSpace, configSpaceState } from "./config-space.ts";
import type { PciFunction } from "./function.ts";

/** The ids that firmware knows the platform by. */
const VENDOR_INTEL = 0x8086;
const DEVICE_HOST_BRIDGE = 0x0d57;
const CLASS_BRIDGE = 0x06;
const SUBCLASS_HOST = 0x00;

const layout = new ConfigLayout({
  vendor: VENDOR_INTEL,
  device: DEVICE_HOST_BRIDGE,
  subsystemVendor: 0,
  subsystem: 0,
  revision: 0,
  baseClass: CLASS_BRIDGE,
  subclass: SUBCLASS_HOST,
});

const noBars: BarMover = { allows: () => false, move: () => false, remapped: () => undefined };

/** The host bridge in slot 0 of segment 0: an identity and nothing else. */
export class HostBridge implements PciFunction, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(configSpaceState);
  readonly bars: readonly Bar[] = [];
  readonly #block: StateBlockOf<typeof configSpaceState>;
  readonly #config: ConfigSpace;

  /** @param block `HostBridge.blockSize` bytes */
  constructor(block: BlockRef) {
    this.#block = new StateBlock(configSpaceState, blockAt(block));
    this.#config = new ConfigSpace(layout, this.#block.state, noBars);
  }

  reset(): void {
    this.#config.reset();
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
  }

  readConfig(offset: number, size: number): number {
    this.#block.lock.acquire();
    const value = this.#config.read(offset, size);
    this.#block.lock.release();
    return value;
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.#block.lock.acquire();
    this.#config.write(offset, size, value);
    this.#block.lock.release();
  }

  readBar(): void {
    throw new Error("the host bridge has no BAR");
  }

  writeBar(): void {
    throw new Error("the host bridge has no BAR");
  }
}
