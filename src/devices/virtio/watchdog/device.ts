import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";

const QUEUE_SIZE = 8;

/** The state's one word: not zero once the driver has been heard of. */
export const WATCHDOG_ARMED = 0;

/** A watchdog as plain data. */
export interface WatchdogWiring {
  readonly transport: VirtioPciWiring;
  /** A timer of CLOCK_MONOTONIC that only this device sets. */
  readonly timerFd: number;
  /** How often it looks when the driver was last heard of, in nanoseconds. */
  readonly periodNs: number;
  /** The machine is reset once the driver has been silent for this long, in nanoseconds. */
  readonly patienceNs: number;
}

/** The watchdog device: one queue of buffers that tell of life. No features, no configuration. */
export const watchdogDevice: VirtioDevice = {
  type: VirtioType.WATCHDOG,
  queueSizes: [QUEUE_SIZE],
  minQueues: 1,
  features: [],
  config: new Uint8Array(0),
  stateWords: 1,
};
