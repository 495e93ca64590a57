import type { VmConfig } from "../../config/schema/vm.ts";
import type { VmState } from "./state.ts";

/** What a device takes up. Base addresses and sizes in bytes. */
export type DeviceResource =
  | {
      readonly PciBar: {
        readonly index: number;
        readonly base: number;
        readonly size: number;
        readonly type_: "Io" | "Mmio32" | "Mmio64";
        readonly prefetchable: boolean;
      };
    }
  | { readonly MmioAddressRange: { readonly base: number; readonly size: number } };

/** A device in the tree that `vm.info` shows. */
export interface DeviceNode {
  readonly id: string;
  readonly resources: readonly DeviceResource[];
  readonly parent?: string;
  readonly children: readonly string[];
  /** `ssss:bb:dd.f` in lower-case hexadecimal. */
  readonly pci_bdf?: string;
}

/** Nodes by their ids. A virtio device is two: itself, and `_virtio-pci-<id>` with its place on the bus and its BARs. */
export type DeviceTree = Readonly<Record<string, DeviceNode>>;

/** Counters by device and name; 64-bit values that a number cannot hold are bigints. */
export type VmCounters = Readonly<Record<string, Readonly<Record<string, number | bigint>>>>;

/** Where a new device is. */
export interface PciDeviceInfo {
  readonly id: string;
  /** `ssss:bb:dd.f` in lower-case hexadecimal. */
  readonly bdf: string;
}

/** What is known of the VM. */
export interface VmInfo {
  /** With everything that was generated filled in. */
  readonly config: VmConfig;
  readonly state: VmState;
  /** RAM that the guest has, in bytes. */
  readonly memoryActualSize: number;
  /** Undefined when the VM is not booted. */
  readonly deviceTree: DeviceTree | undefined;
}
