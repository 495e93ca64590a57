import type { VmCoredumpData, VmResize, VmResizeDisk, VmResizeZone } from "../../config/schema/actions.ts";
import type { VmConfig } from "../../config/schema/vm.ts";
import type { NewDevice } from "./device-kinds.ts";
import type { DeviceTree, PciDeviceInfo, VmCounters } from "./vm-info.ts";

import type { LifeMetrics } from "./vm-metrics.ts";

/** What ends a life of a VM: the guest, or `stop`. */
export type LifeEnd = "reset" | "powerOff" | "stopped";

/** What of the host a VMM can still reach. */
export interface Confinement {
  /** Narrows it to what a configuration needs, where that asks for it. @throws when that cannot be done */
  readonly enter: (config: VmConfig) => Promise<void>;
  /** @throws when it excludes what a configuration needs */
  readonly require: (config: VmConfig) => void;
}

/**
 * One life of a virtual machine, from power-on to power-off or reset, as the state machine steers it. The state machine
 * calls one method at a time, and only in the states that are named. Optional methods are features that may be missing.
 */
export interface VmLife {
  /** The configuration with everything that was generated, such as ids, filled in. Asked for when `start` is over. */
  readonly config: VmConfig;
  /** Settles once, when the guest or `stop` ended the life and no thread runs any more. @throws when a thread failed */
  readonly over: Promise<LifeEnd>;
  /** Makes the machine and lets its vCPUs run. @throws when it cannot; then only `close` follows */
  start(): Promise<void>;
  /** Stops a running VM where all of its state is in memory. */
  pause(): void | Promise<void>;
  /** Lets a paused VM go on. */
  resume(): void | Promise<void>;
  /** Ends a started life, running or paused, as if the power cord were pulled. `over` tells when that is done. */
  stop(): void;
  /** Gives everything back. `over` has settled, or `start` failed. */
  close(): void;
  /** Presses the power button. */
  powerButton(): void;
  /** RAM that the guest has now, in bytes; undefined where that is what the configuration says. */
  memoryActualSize?(): number;
  counters?(): VmCounters | Promise<VmCounters>;
  metrics?(): Promise<LifeMetrics>;
  deviceTree?(): DeviceTree;
  /** Gives every vCPU a non-maskable interrupt. The VM is paused: the hypervisor waits for a vCPU that is in the guest. */
  nmi?(): void;
  /** Plugs a device in. Afterwards `config` contains it. */
  addDevice?(device: NewDevice): PciDeviceInfo | Promise<PciDeviceInfo>;
  /** Asks the guest to give a device up. Afterwards `config` does not contain it. @throws UnknownDeviceError */
  removeDevice?(id: string): void | Promise<void>;
  /** Changes the number of vCPUs or the amount of memory. Afterwards `config` says so. @throws CpuRemovalPendingError */
  resize?(request: VmResize): void | Promise<void>;
  /** @throws UnknownDeviceError */
  resizeDisk?(request: VmResizeDisk): void | Promise<void>;
  /** Writes a core file. The VM is paused, and stays so until that is done. */
  coredump?(request: VmCoredumpData): Promise<void>;
  resizeZone?(request: VmResizeZone): void | Promise<void>;
}

/** The host's ends of the consoles of the VM, which stay from when it is created until it is deleted. */
export interface VmConsoles {
  /** Opens them, where they are not open. @returns the configuration with the paths of pseudo-terminals. @throws ConsoleError */
  open(config: VmConfig): VmConfig;
  close(): void;
}

/** Makes a VM of a valid configuration that asks for nothing unsupported. But for its consoles nothing is opened before `start`. */
export type MakeVm = (config: VmConfig) => VmLife | Promise<VmLife>;
