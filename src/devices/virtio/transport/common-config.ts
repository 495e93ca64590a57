import { DESCRIPTOR_ALIGN, DEVICE_ALIGN, DRIVER_ALIGN, isQueueSize } from "../queue/layout.ts";
import type { FeatureWords } from "./features.ts";
import { NO_VECTOR, type QueueState, type TransportState } from "./state.ts";

/** struct virtio_pci_common_cfg (VIRTIO 1.3, 4.1.4.3). */
export const CommonRegister = {
  DEVICE_FEATURE_SELECT: 0x00,
  DEVICE_FEATURE: 0x04,
  DRIVER_FEATURE_SELECT: 0x08,
  DRIVER_FEATURE: 0x0c,
  CONFIG_MSIX_VECTOR: 0x10,
  NUM_QUEUES: 0x12,
  DEVICE_STATUS: 0x14,
  CONFIG_GENERATION: 0x15,
  QUEUE_SELECT: 0x16,
  QUEUE_SIZE: 0x18,
  QUEUE_MSIX_VECTOR: 0x1a,
  QUEUE_ENABLE: 0x1c,
  QUEUE_NOTIFY_OFF: 0x1e,
  QUEUE_DESC: 0x20,
  QUEUE_DRIVER: 0x28,
  QUEUE_DEVICE: 0x30,
} as const;

/** The one width in bytes of each register but the ring addresses. */
const WIDTH: Readonly<Record<number, number>> = {
  [CommonRegister.DEVICE_FEATURE_SELECT]: 4,
  [CommonRegister.DEVICE_FEATURE]: 4,
  [CommonRegister.DRIVER_FEATURE_SELECT]: 4,
  [CommonRegister.DRIVER_FEATURE]: 4,
  [CommonRegister.CONFIG_MSIX_VECTOR]: 2,
  [CommonRegister.NUM_QUEUES]: 2,
  [CommonRegister.DEVICE_STATUS]: 1,
  [CommonRegister.CONFIG_GENERATION]: 1,
  [CommonRegister.QUEUE_SELECT]: 2,
  [CommonRegister.QUEUE_SIZE]: 2,
  [CommonRegister.QUEUE_MSIX_VECTOR]: 2,
  [CommonRegister.QUEUE_ENABLE]: 2,
  [CommonRegister.QUEUE_NOTIFY_OFF]: 2,
};

/**
 * The common configuration registers, all but what a write of device_status sets off. Accesses of a wrong width or in
 * between read 0 and are not written. Methods need the device's lock.
 */
export class CommonConfig {
  readonly #state: TransportState;
  readonly #offered: FeatureWords;
  readonly #queueSizes: readonly number[];

  constructor(state: TransportState, offered: FeatureWords, queueSizes: readonly number[]) {
    this.#state = state;
    this.#offered = offered;
    this.#queueSizes = queueSizes;
  }

  /** As after power-on, and after a device reset, but device_status. The generation goes on. */
  reset(): void {
    const state = this.#state;
    state.deviceFeatureSelect = 0;
    state.driverFeatureSelect = 0;
    state.driverFeatures.fill(0);
    state.configVector = NO_VECTOR;
    state.queueSelect = 0;
    state.queues.forEach((queue, i) => {
      queue.size = this.#queueSizes[i] ?? 0;
      queue.enabled = 0;
      queue.vector = NO_VECTOR;
      queue.positions.fill(0);
      queue.descriptorArea.fill(0);
      queue.driverArea.fill(0);
      queue.deviceArea.fill(0);
    });
  }

  /**
   * Judges a state that came from outside.
   * @throws RangeError when the driver cannot have brought it about
   */
  validate(): void {
    const { driverFeatures, queues } = this.#state;
    const [lo = 0, hi = 0] = driverFeatures;
    if ((lo & ~this.#offered.lo) !== 0 || (hi & ~this.#offered.hi) !== 0)
      throw new RangeError("saved device has features that are not offered");
    queues.forEach(({ size }, i) => {
      if (!isQueueSize(size) || size > (this.#queueSizes[i] ?? 0))
        throw new RangeError(`saved virtqueue ${i} has ${size} descriptors`);
    });
  }

  /** The value of `size` bytes at `offset`; all that is wider than 4 bytes reads 0. */
  read(offset: number, size: number): number {
    if (WIDTH[offset] !== size) return 0;
    const state = this.#state;
    const queue = state.queues[state.queueSelect];
    switch (offset) {
      case CommonRegister.DEVICE_FEATURE_SELECT:
        return state.deviceFeatureSelect;
      case CommonRegister.DEVICE_FEATURE:
        return state.deviceFeatureSelect === 0
          ? this.#offered.lo
          : state.deviceFeatureSelect === 1
            ? this.#offered.hi
            : 0;
      case CommonRegister.DRIVER_FEATURE_SELECT:
        return state.driverFeatureSelect;
      case CommonRegister.CONFIG_MSIX_VECTOR:
        return state.configVector;
      case CommonRegister.NUM_QUEUES:
        return state.queues.length;
      case CommonRegister.DEVICE_STATUS:
        return Atomics.load(state.status, 0) & 0xff;
      case CommonRegister.CONFIG_GENERATION:
        return state.generation;
      case CommonRegister.QUEUE_SELECT:
      case CommonRegister.QUEUE_NOTIFY_OFF:
        return state.queueSelect;
      case CommonRegister.QUEUE_SIZE:
        return queue?.size ?? 0;
      case CommonRegister.QUEUE_MSIX_VECTOR:
        return queue?.vector ?? NO_VECTOR;
      case CommonRegister.QUEUE_ENABLE:
        return queue?.enabled ?? 0;
      default:
        return 0;
    }
  }

  /** Takes a write to any register but device_status. */
  write(offset: number, size: number, lo: number, hi: number): void {
    const state = this.#state;
    const queue = state.queues[state.queueSelect];
    if (offset >= CommonRegister.QUEUE_DESC) {
      if (queue !== undefined) this.#writeAddress(queue, offset, size, lo, hi);
      return;
    }
    if (WIDTH[offset] !== size) return;
    switch (offset) {
      case CommonRegister.DEVICE_FEATURE_SELECT:
        state.deviceFeatureSelect = lo;
        break;
      case CommonRegister.DRIVER_FEATURE_SELECT:
        state.driverFeatureSelect = lo;
        break;
      case CommonRegister.DRIVER_FEATURE:
        if (state.driverFeatureSelect === 0) state.driverFeatures[0] = lo & this.#offered.lo;
        else if (state.driverFeatureSelect === 1) state.driverFeatures[1] = lo & this.#offered.hi;
        break;
      case CommonRegister.CONFIG_MSIX_VECTOR:
        state.configVector = lo;
        break;
      case CommonRegister.QUEUE_SELECT:
        state.queueSelect = lo;
        break;
      case CommonRegister.QUEUE_SIZE:
        if (queue !== undefined && isQueueSize(lo) && lo <= (this.#queueSizes[state.queueSelect] ?? 0)) queue.size = lo;
        break;
      case CommonRegister.QUEUE_MSIX_VECTOR:
        if (queue !== undefined) queue.vector = lo;
        break;
      case CommonRegister.QUEUE_ENABLE:
        if (queue !== undefined) queue.enabled = lo === 1 ? 1 : 0;
        break;
    }
  }

  #writeAddress(queue: QueueState, offset: number, size: number, lo: number, hi: number): void {
    const register = offset & ~7;
    const half = (offset & 7) / 4;
    if ((size !== 4 || (half !== 0 && half !== 1)) && (size !== 8 || half !== 0)) return;
    const [area, align] =
      register === CommonRegister.QUEUE_DESC
        ? [queue.descriptorArea, DESCRIPTOR_ALIGN]
        : register === CommonRegister.QUEUE_DRIVER
          ? [queue.driverArea, DRIVER_ALIGN]
          : [queue.deviceArea, DEVICE_ALIGN];
    if (half === 0 && lo % align !== 0) return;
    area[half] = lo;
    if (size === 8) area[1] = hi;
  }
}
