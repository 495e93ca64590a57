import type { RamRegion } from "../../../memory/guest-memory.ts";
import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";

const QUEUE_SIZE = 256;

/** A persistent memory device as plain data. */
export interface PmemWiring {
  readonly transport: VirtioPciWiring;
  /** The mapping of the file, where the guest sees it. */
  readonly region: RamRegion;
  /** The file, to be made durable at a flush. */
  readonly fd: number;
}

/** The persistent memory device (VIRTIO 1.3, 5.19): a queue of flush requests; its configuration is start and size, u64 each. */
export const pmemDevice = ({ gpa, size }: RamRegion): VirtioDevice => ({
  type: VirtioType.PMEM,
  queueSizes: [QUEUE_SIZE],
  minQueues: 1,
  features: [],
  config: new Uint8Array(BigUint64Array.of(BigInt(gpa), BigInt(size)).buffer),
  memory: { base: gpa, length: size },
});
