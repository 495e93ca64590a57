import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";

const QUEUE_SIZE = 256;

/** A clock device as plain data. */
export interface RtcWiring {
  readonly transport: VirtioPciWiring;
}

/** The clock device (VIRTIO 1.4, 5.23): one queue of requests. No alarms, so no features and no second queue. */
export const rtcDevice: VirtioDevice = {
  type: VirtioType.RTC,
  queueSizes: [QUEUE_SIZE],
  minQueues: 1,
  features: [],
  config: new Uint8Array(0),
};
