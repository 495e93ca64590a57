import type { BlockRef } from "../../threads/block-ref.ts";
import type { BarMover } from "./bar.ts";
import { ConfigLayout } from "./config-layout.ts";
import { PlainFunction } from "./plain-function.ts";

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
export class HostBridge extends PlainFunction {
  /** @param block `HostBridge.blockSize` bytes */
  constructor(block: BlockRef) {
    super(layout, block, noBars);
  }

  readBar(): void {
    throw new Error("the host bridge has no BAR");
  }

  writeBar(): void {
    throw new Error("the host bridge has no BAR");
  }
}
