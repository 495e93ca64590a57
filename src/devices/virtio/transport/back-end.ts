import { drainEventFd, signalEventFd } from "../../../host/eventfd.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { guestLogger } from "../../../threads/log.ts";
import { MsixVectors } from "../../pci/msix.ts";
import { NO_CHAIN, Queue } from "../queue/queue.ts";
import { QueueError } from "../queue/queue-error.ts";
import type { VirtioDevice } from "./device.ts";
import { VirtioFeature } from "./features.ts";
import { QueueHandover } from "./handover.ts";
import { needReset, notifyConfigChange } from "./notifications.ts";
import { type QueueState, TransportBlock, type TransportState } from "./state.ts";
import type { VirtioPciWiring } from "./wiring.ts";

const log = guestLogger("virtio");

const HIGH = 0x1_0000_0000;

/** What `BackEndQueue.update` found. */
export type QueueChange =
  /** Nothing new. */
  | "none"
  /** The driver has started the queue: `ring` is there, and may hold chains already. */
  | "started"
  /** The driver resets the device: finish what is in flight, then `release`. Said again until then. */
  | "recalled";

/**
 * The device's side of a virtio device, in a thread that serves some or all of its queues. Takes no lock, so that it never
 * waits for a vCPU.
 */
export class BackEnd {
  readonly id: string;
  /** By queue number. A thread uses only those that it serves. */
  readonly queues: readonly BackEndQueue[];
  /** The live device configuration. */
  readonly config: Uint8Array;
  /** The device's own words of the state, `VirtioDevice.stateWords` of them. */
  readonly words: Uint32Array;
  readonly #state: TransportState;
  readonly #vectors: MsixVectors;

  constructor(device: VirtioDevice, wiring: VirtioPciWiring, memory: GuestMemory) {
    const shared = new TransportBlock(device, wiring.block);
    this.id = wiring.id;
    this.config = shared.config;
    this.words = shared.state.device;
    this.#state = shared.state;
    this.#vectors = new MsixVectors(shared.state.msix, wiring.vectors);
    const handover = new QueueHandover(shared);
    this.queues = wiring.queues.map(
      ({ doorbell }, i) =>
        new BackEndQueue(
          this,
          i,
          doorbell,
          shared.state.queues[i],
          shared.counters[i],
          handover,
          memory,
          this.#vectors,
        ),
    );
  }

  /** Whether the driver accepted a feature bit. Settled while a queue is started. */
  hasFeature(bit: number): boolean {
    return (((this.#state.driverFeatures[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) !== 0;
  }

  /** Tells the driver that the device configuration has changed. */
  configChanged(): void {
    notifyConfigChange(this.#state, this.#vectors);
  }

  /** The device cannot go on until the driver resets it. @param reason for the log */
  fail(reason: unknown): void {
    log.error(`${this.id} needs a reset: ${reason instanceof Error ? reason.message : String(reason)}`);
    needReset(this.#state, this.#vectors);
  }
}

/** One queue in the thread that serves it. */
export class BackEndQueue {
  readonly index: number;
  /** The eventfd that the driver's notifications signal: what the thread waits for. */
  readonly doorbell: number;
  /** The rings, while the driver has the queue started and nothing is wrong with it. */
  ring: Queue | undefined;
  /** What the device counts, in the order in which it names its counters. Only the thread of the queue changes them. */
  readonly counters: Float64Array;
  readonly #owner: BackEnd;
  readonly #state: QueueState | undefined;
  readonly #handover: QueueHandover;
  readonly #memory: GuestMemory;
  readonly #vectors: MsixVectors;

  constructor(
    owner: BackEnd,
    index: number,
    doorbell: number,
    state: QueueState | undefined,
    counters: Float64Array | undefined,
    handover: QueueHandover,
    memory: GuestMemory,
    vectors: MsixVectors,
  ) {
    this.#owner = owner;
    this.index = index;
    this.doorbell = doorbell;
    this.#state = state;
    this.counters = counters ?? new Float64Array(0);
    this.#handover = handover;
    this.#memory = memory;
    this.#vectors = vectors;
  }

  /** Looks for news from the driver. To be called when the thread starts and whenever its control wakes it. */
  update(): QueueChange {
    if (this.#handover.isRecalled(this.index)) return "recalled";
    if (!this.#handover.accept(this.index)) return "none";
    const state = this.#state;
    if (state === undefined) return "none";
    try {
      this.ring = new Queue(
        this.#memory,
        {
          index: this.index,
          size: state.size,
          descriptorArea: address(state.descriptorArea),
          driverArea: address(state.driverArea),
          deviceArea: address(state.deviceArea),
          eventIdx: this.#owner.hasFeature(VirtioFeature.EVENT_IDX),
        },
        state.positions,
      );
      return "started";
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.fail(error);
      return "none";
    }
  }

  /** Gives a recalled queue back. Nothing of the guest's memory may be touched for it any more. */
  release(): void {
    this.ring = undefined;
    this.#handover.release(this.index);
  }

  /** Takes back the driver's notifications, before looking at the ring. @returns whether there were any */
  drainDoorbell(): boolean {
    return drainEventFd(this.doorbell);
  }

  /**
   * Takes the next chain. Bad chains are given back with length 0, and a corrupt ring fails the queue: but not while earlier
   * chains are held, which go back first, or are put back.
   * @param held how many chains of those taken last the caller may yet put back
   * @returns its head, or `NO_CHAIN`
   */
  take(held = 0): number {
    const { ring } = this;
    if (ring === undefined) return NO_CHAIN;
    // As many as the driver could have offered when it rang: it may go on to offer bad ones for ever.
    for (let tries = 0; tries < ring.size; tries++) {
      try {
        return ring.pop();
      } catch (error) {
        if (!(error instanceof QueueError)) throw error;
        const { head } = error;
        if (held > 0) {
          if (head !== undefined) ring.unpop(head);
          return NO_CHAIN;
        }
        if (head === undefined) {
          this.fail(error);
          return NO_CHAIN;
        }
        log.debug(`${this.#owner.id}: ${error.message}`);
        ring.complete(head, 0);
      }
    }
    signalEventFd(this.doorbell);
    return NO_CHAIN;
  }

  /**
   * Asks the driver to notify about the next chain.
   * @returns whether chains are there already; false too when the ring is corrupt, which fails the queue
   */
  enableNotifications(): boolean {
    try {
      return this.ring?.enableNotifications() === true;
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.fail(error);
      return false;
    }
  }

  /** Shows the driver all completed chains and interrupts it if it wants that. */
  publish(): void {
    if (this.ring?.publish() === true) this.interrupt();
  }

  /** Interrupts the driver for this queue. */
  interrupt(): void {
    if (this.#state !== undefined) this.#vectors.raise(this.#state.vector);
  }

  /**
   * Gives the queue up until the driver resets the device: after a corrupt ring. The thread keeps it, without `ring`,
   * until it is recalled.
   */
  fail(reason: unknown): void {
    this.ring = undefined;
    this.#owner.fail(reason);
  }
}

const address = (halves: Uint32Array): number => (halves[0] ?? 0) + (halves[1] ?? 0) * HIGH;
