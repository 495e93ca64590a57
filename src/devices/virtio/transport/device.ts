import type { AddressRange } from "../../pci/bar.ts";

/** Virtio device types (VIRTIO 1.3, 5). */
export const VirtioType = {
  NET: 1,
  BLOCK: 2,
  CONSOLE: 3,
  RNG: 4,
  BALLOON: 5,
  RTC: 17,
  VSOCK: 19,
  IOMMU: 23,
  MEM: 24,
  FS: 26,
  PMEM: 27,
  WATCHDOG: 35,
} as const;

/**
 * What the transport has to know of a virtio device: made from plain data on each thread, by the same function on both
 * sides. What the device does with its queues is its back end's business.
 */
export interface VirtioDevice {
  /** VIRTIO 1.3, 5. */
  readonly type: number;
  /** Descriptors of each queue at most: powers of two up to 32768. */
  readonly queueSizes: readonly number[];
  /** With fewer queues enabled at DRIVER_OK, the device asks for a reset. */
  readonly minQueues: number;
  /** Feature bits offered. The transport adds VERSION_1. */
  readonly features: readonly number[];
  /** Device configuration at power-on. Empty for devices without. */
  readonly config: Uint8Array;
  /** Guest addresses that the device gives the guest memory at, outside its BARs; none without. */
  readonly memory?: AddressRange;
  /** 32-bit words of state that the back end keeps beside the queues, zero at power-on; none when absent. */
  readonly stateWords?: number;
  /** What each queue counts for whoever watches the VM; nothing without. Only the thread of a queue changes its counters. */
  readonly counters?: readonly string[];
  /**
   * Takes a driver's write to the device configuration, inside its bytes and under the device's lock. Without it, the
   * configuration is read-only.
   * @param config the live bytes
   * @param size 1, 2, 4 or 8 bytes
   * @param value bits 31:0 of what is written
   */
  writeConfig?(config: Uint8Array, offset: number, size: number, value: number): void;
  /**
   * Brings fields of the configuration up to date that depend on something else, before a driver reads any, under the
   * device's lock.
   * @param hasFeature whether the driver accepted a feature bit
   * @param state the device's `stateWords`
   */
  refreshConfig?(config: Uint8Array, hasFeature: (bit: number) => boolean, state: Uint32Array): void;
  /** Told when the driver has reset the device. @param state the device's `stateWords` */
  reset?(state: Uint32Array): void;
  /** Told when the device's state has been put back from a snapshot. @param state the device's `stateWords` */
  restored?(state: Uint32Array): void;
}
