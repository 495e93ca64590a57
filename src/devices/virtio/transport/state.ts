import { MemoryBlock } from "../../../host/memory-block.ts";
import { atomic32, list, nested, struct, u8, u16, u16s, u32, u32s, type ViewOf } from "../../../host/struct.ts";
import { type BlockRef, blockAt } from "../../../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../../../threads/state-block.ts";
import { configSpaceState } from "../../pci/config-space.ts";
import { msixState } from "../../pci/msix.ts";
import { POSITION_WORDS } from "../queue/queue.ts";
import type { VirtioDevice } from "./device.ts";

/** device_status (VIRTIO 1.3, 2.1). */
export const DeviceStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
} as const;

/** A vector register without a vector (4.1.5.1.2). */
export const NO_VECTOR = 0xffff;

/** One queue as the driver set it up, and where the device stands in it. */
const queueState = struct("virtqueue state", {
  size: u16,
  enabled: u16,
  vector: u16,
  /** Owned by the back end while it has the queue. */
  positions: u16s(POSITION_WORDS),
  /** Low and high half of each area's guest physical address. */
  descriptorArea: u32s(2),
  driverArea: u32s(2),
  deviceArea: u32s(2),
});
export type QueueState = ViewOf<typeof queueState>;

const transportState = (queues: number, configWords: number, stateWords: number) =>
  struct("virtio-pci state", {
    pci: nested(configSpaceState),
    msix: nested(msixState(vectorsOf(queues))),
    /** device_status. A back end may set NEEDS_RESET, so every change is atomic. */
    status: atomic32,
    /** Set by whoever changes the device configuration, taken back by the read that bumps the generation. */
    configChanged: atomic32,
    deviceFeatureSelect: u32,
    driverFeatureSelect: u32,
    /** The features that the driver accepted. */
    driverFeatures: u32s(2),
    configVector: u16,
    queueSelect: u16,
    generation: u8,
    /** DRIVER_OK came and the queues were handed to the back end. */
    active: u8,
    /** The driver wrote status 0 and the back end has not let go of all queues yet. */
    resetting: u8,
    queues: list(queueState, queues),
    /** The device configuration, in words so that a field of up to 32 bits changes at once. */
    config: u32s(configWords),
    /** The back end's own: a reset by the driver leaves it alone. */
    device: u32s(stateWords),
  });
export type TransportState = ViewOf<ReturnType<typeof transportState>>;

const ATTACHED_OFFSET = 0;
const WORDS_OFFSET = 8;

/** One interrupt for each queue, and one for changes of the configuration. */
export const vectorsOf = (queues: number): number => queues + 1;

/** By queues, words of the configuration and words of state: accessors take memory and time to make, and devices are often alike. */
const stateTypes = new Map<string, ReturnType<typeof transportState>>();

function stateTypeOf({ queueSizes, config, stateWords = 0 }: VirtioDevice): ReturnType<typeof transportState> {
  const shape = [queueSizes.length, Math.ceil(config.length / 4), stateWords] as const;
  const key = shape.join();
  let type = stateTypes.get(key);
  if (type === undefined) {
    type = transportState(...shape);
    stateTypes.set(key, type);
  }
  return type;
}
const countersOffset = (queues: number): number => roundUp8(WORDS_OFFSET + 4 * queues);
const hostBytes = (queues: number, counters: number): number => countersOffset(queues) + 8 * queues * counters;

/**
 * The shared memory of a virtio-pci device: its state, and behind it what belongs to this process and is in no snapshot,
 * the handover words and counters of the queues.
 */
export class TransportBlock {
  readonly block: StateBlockOf<ReturnType<typeof transportState>>;
  readonly state: TransportState;
  /** The bytes of the device configuration. */
  readonly config: Uint8Array;
  /** Handover words, one a queue, from `handoverAddress`. */
  readonly handover: Int32Array;
  readonly handoverAddress: number;
  /** By queue, those that the device names. */
  readonly counters: readonly Float64Array[];
  /** Not zero while the doorbells of the mapped BAR signal. */
  readonly attached: Int32Array;

  constructor(device: VirtioDevice, ref: BlockRef) {
    const queues = device.queueSizes.length;
    const type = stateTypeOf(device);
    const memory = blockAt(ref);
    const stateBytes = StateBlock.sizeOf(type);
    this.block = new StateBlock(type, memory.sub(0, stateBytes));
    this.state = this.block.state;
    const { config } = this.state;
    this.config = new Uint8Array(config.buffer, config.byteOffset, device.config.length);
    const counters = device.counters?.length ?? 0;
    const host = new MemoryBlock(memory.address + roundUp8(stateBytes), hostBytes(queues, counters));
    this.attached = host.i32.subarray(ATTACHED_OFFSET, 1);
    this.handover = host.i32.subarray(WORDS_OFFSET / 4, WORDS_OFFSET / 4 + queues);
    this.handoverAddress = host.address + WORDS_OFFSET;
    const { buffer, byteOffset } = host.u8;
    this.counters = device.queueSizes.map(
      (_, queue) => new Float64Array(buffer, byteOffset + countersOffset(queues) + 8 * queue * counters, counters),
    );
  }

  /** Bytes for a device. */
  static sizeOf(device: VirtioDevice): number {
    const queues = device.queueSizes.length;
    return roundUp8(StateBlock.sizeOf(stateTypeOf(device))) + hostBytes(queues, device.counters?.length ?? 0);
  }
}

const roundUp8 = (bytes: number): number => Math.ceil(bytes / 8) * 8;
