import { PAIRS_WORDS } from "../../../vsock/limits.ts";
import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import { VirtioFeature } from "../transport/features.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";

const QUEUE_SIZE = 256;

/** Queue numbers (VIRTIO 1.3, 5.10.2), as the driver calls them. Nothing is ever said on the third, that of events. */
export const VSOCK_RECEIVE = 0;
export const VSOCK_TRANSMIT = 1;

/** A socket device as plain data. */
export interface VsockWiring {
  readonly transport: VirtioPciWiring;
  /** The guest's context id: 3 to 2^32 - 2. */
  readonly cid: number;
  /** Where clients of the host connect: non-blocking and listening. */
  readonly listenFd: number;
  /** The path of that socket. */
  readonly path: string;
}

/** The socket device (5.10): streams only, the guest's context id in the configuration. */
export function vsockDevice(cid: number): VirtioDevice {
  const config = new Uint8Array(8);
  new DataView(config.buffer).setUint32(0, cid, true);
  return {
    type: VirtioType.VSOCK,
    queueSizes: [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE],
    minQueues: 3,
    features: [VirtioFeature.IN_ORDER],
    config,
    stateWords: PAIRS_WORDS,
  };
}
