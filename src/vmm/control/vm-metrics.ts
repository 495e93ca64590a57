import type { VmState } from "./state.ts";

/** A device that counts what it does. */
export interface DeviceMetrics {
  readonly id: string;
  /** As `block` or `net`. */
  readonly kind: string;
  /** By name, all queues together. */
  readonly counters: Readonly<Record<string, number>>;
}

/** What the machine of a booted VM has counted since it was booted. */
export interface LifeMetrics {
  readonly devices: readonly DeviceMetrics[];
  /** By vCPU: what the hypervisor counts, by its own names; nothing where it does not. */
  readonly vcpus: readonly Readonly<Record<string, number>>[];
}

/** What is known of the VM in numbers. */
export interface VmMetrics extends LifeMetrics {
  /** Undefined when there is no VM. */
  readonly state: VmState | undefined;
  /** RAM that the guest has, in bytes. */
  readonly memoryBytes: number;
}
