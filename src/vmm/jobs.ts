import type { BlockWiring } from "../devices/virtio/block/device.ts";
import type { NetWiring } from "../devices/virtio/net/device.ts";
import type { SeccompMode } from "../host/seccomp/install.ts";
import type { VcpuHandle } from "../hypervisor/hypervisor.ts";
import type { VirtioWiring } from "../machine/pci-devices.ts";
import type { MachineWiring } from "../machine/x86_64/machine-wiring.ts";
import type { BlockRef } from "../threads/block-ref.ts";
import type { LogSettings } from "../threads/log.ts";

/** What every worker is told. */
export interface JobBase {
  /** The thread's name, for ps, logs and errors. */
  readonly name: string;
  readonly control: BlockRef;
  readonly machine: MachineWiring;
  readonly log: LogSettings;
  /** Host CPUs to stay on; anywhere when undefined. */
  readonly affinity: readonly number[] | undefined;
  /** What a violation of the thread's filter leads to; without it there is no filter. */
  readonly seccomp: SeccompMode | undefined;
}

/** Run a vCPU, which has been set up, until it stops. */
export interface VcpuJob extends JobBase {
  readonly vcpu: VcpuHandle;
  /** Whether the thread shares physical cores with no other. */
  readonly ownCore: boolean;
}

/** A device among those that a thread serves. */
export interface ServedDevice {
  readonly wiring: VirtioWiring;
  /** How it leaves before the others (`Departure`), if it may. */
  readonly departure: BlockRef | undefined;
}

/** Serve all devices with little traffic. */
export interface IoJob extends JobBase {
  readonly devices: readonly ServedDevice[];
  /** Whether these include the consoles and the platform's own devices: of one thread of a machine only. */
  readonly platform: boolean;
}

/** Serve queues of a block device. */
export interface BlockJob extends JobBase {
  readonly device: BlockWiring;
  /** Their numbers, at least one. */
  readonly queues: readonly number[];
}

/** Write the memory of a paused VM into a core file. */
export interface CoreDumpJob extends JobBase {
  /** The file, new and open for writing. */
  readonly fd: number;
  /** What stands at its start. */
  readonly head: Uint8Array;
  /** Where in it each region of RAM starts, in bytes. */
  readonly offsets: readonly number[];
  /** Its bytes. */
  readonly size: number;
}

/** Serve one pair of queues of a network device. */
export interface NetJob extends JobBase {
  readonly device: NetWiring;
  /** The pair's number. */
  readonly queue: number;
}
