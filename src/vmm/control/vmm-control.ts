import type { VmCoredumpData, VmResize, VmResizeDisk, VmResizeZone } from "../../config/schema/actions.ts";
import type { VmConfig } from "../../config/schema/vm.ts";
import type { NewDevice } from "./device-kinds.ts";
import type { PciDeviceInfo, VmCounters, VmInfo } from "./vm-info.ts";
import type { VmMetrics } from "./vm-metrics.ts";

/**
 * What can be asked of the VMM from outside. Requests are carried out one after the other, in the order in which they are
 * made. Besides what is named, each throws what the machine throws; what no code exists for throws UnsupportedError.
 */
export interface VmmControl {
  /** Stores a configuration, not validated, and opens its consoles. @throws VmAlreadyCreatedError; ConsoleError, though it is stored */
  create(config: VmConfig): Promise<void>;
  /** Shuts the VM down when it is booted and forgets its configuration. */
  delete(): Promise<void>;
  /** @throws VmMissingConfigError, VmAlreadyCreatedError, ValidationError */
  boot(): Promise<void>;
  /** @throws VmNotRunningError, InvalidTransitionError */
  shutdown(): Promise<void>;
  /** @throws VmNotCreatedError, InvalidTransitionError */
  reboot(): Promise<void>;
  /** @throws VmNotRunningError, InvalidTransitionError */
  pause(): Promise<void>;
  /** @throws VmNotRunningError, InvalidTransitionError */
  resume(): Promise<void>;
  /** @throws VmNotRunningError */
  powerButton(): Promise<void>;
  /** @throws VmNotRunningError */
  nmi(): Promise<void>;
  /** @throws VmNotCreatedError */
  info(): Promise<VmInfo>;
  /** @throws VmNotRunningError */
  counters(): Promise<VmCounters>;
  /** Everything there is to know in numbers, in any state. */
  metrics(): Promise<VmMetrics>;
  /**
   * File descriptors in the device's configuration belong to the VM when this succeeds.
   * @returns where the device is; undefined when the VM is not booted
   * @throws VmNotCreatedError, ValidationError
   */
  addDevice(device: NewDevice): Promise<PciDeviceInfo | undefined>;
  /** @throws VmNotCreatedError, UnknownDeviceError */
  removeDevice(id: string): Promise<void>;
  /** @throws VmNotCreatedError, CpuRemovalPendingError */
  resize(request: VmResize): Promise<void>;
  /** @throws VmNotCreatedError, VmNotRunningError, UnknownDeviceError */
  resizeDisk(request: VmResizeDisk): Promise<void>;
  /** @throws VmNotCreatedError, UnknownDeviceError */
  resizeZone(request: VmResizeZone): Promise<void>;
  /** Writes a core file; a running VM is paused meanwhile. @throws VmNotRunningError */
  coredump(request: VmCoredumpData): Promise<void>;
  /** Deletes the VM and ends the VMM, even when deleting fails. */
  shutdownVmm(): Promise<void>;
}
