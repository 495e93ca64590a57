import type { RamRegion } from "../../memory/guest-memory.ts";
import type { BlockRef } from "../../threads/block-ref.ts";
import type { PciWiring } from "../pci-devices.ts";
import type { PlatformWiring } from "./platform-wiring.ts";

/** A machine as plain data: what any thread of the VM needs to make its own view of it. */
export interface MachineWiring {
  readonly vmFd: number;
  /** The interrupt routing table. */
  readonly routing: BlockRef;
  readonly ram: readonly RamRegion[];
  readonly platform: PlatformWiring;
  readonly pci: PciWiring;
}
