import type { RateGateWiring } from "../../rate-limit/rate-gate.ts";
import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";

const QUEUE_SIZE = 256;

/** An entropy device as plain data. */
export interface RngWiring {
  readonly transport: VirtioPciWiring;
  /** Open for reading: where the entropy comes from. Non-blocking, unless reading never blocks. */
  readonly sourceFd: number;
  /** What requests have to pass; undefined without limits. */
  readonly gate: RateGateWiring | undefined;
}

/** The entropy device (VIRTIO 1.3, 5.4): one queue of buffers to be filled, no features, no configuration. */
export const rngDevice: VirtioDevice = {
  type: VirtioType.RNG,
  queueSizes: [QUEUE_SIZE],
  minQueues: 1,
  features: [],
  config: new Uint8Array(0),
};
