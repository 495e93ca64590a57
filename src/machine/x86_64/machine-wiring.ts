import type { ChardevWiring } from "../../devices/chardev/wiring.ts";
import { DeviceMemory } from "../../memory/device-memory.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import type { BackedRegion } from "../../memory/ram.ts";
import type { BlockRef } from "../../threads/block-ref.ts";
import type { PciWiring } from "../pci-devices.ts";
import type { PlatformWiring } from "./platform-wiring.ts";

/** A machine as plain data: what any thread of the VM needs to make its own view of it. */
export interface MachineWiring {
  readonly vmFd: number;
  /** The interrupt routing table. */
  readonly routing: BlockRef;
  readonly ram: readonly BackedRegion[];
  /** Memory that devices give the guest. Like RAM, it may hold what other devices read and write: pages of a file, mostly. */
  readonly deviceMemory: BlockRef;
  readonly platform: PlatformWiring;
  readonly pci: PciWiring;
  /** The host's ends of the consoles, each for one device or more. */
  readonly chardevs: readonly ChardevWiring[];
}

/** All the memory that a device of the machine may read and write on behalf of the guest. */
export const reachableMemory = ({ ram, deviceMemory }: MachineWiring): GuestMemory =>
  new GuestMemory(ram, new DeviceMemory(deviceMemory));
