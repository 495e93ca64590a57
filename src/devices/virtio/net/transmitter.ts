import { signalEventFd } from "../../../host/eventfd.ts";
import { FrameBatch } from "../../../net/frame-batch.ts";
import type { FrameCarrier } from "../../../net/frame-carrier.ts";
import type { RateGate } from "../../rate-limit/rate-gate.ts";
import type { DescriptorChain } from "../queue/descriptor-chain.ts";
import { NO_CHAIN, type Queue } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";
import { NET_HEADER_BYTES } from "./protocol.ts";
import { batchFrames } from "./rate-limit.ts";

/** Counters of a transmit queue, by their places in `NET_COUNTERS`. */
const BYTES = 2;
const FRAMES = 3;

/** The largest IP packet behind an Ethernet header with two VLAN tags: more is in no frame. */
const MAX_FRAME_BYTES = 65_535 + 14 + 2 * 4;

/**
 * Sends what a driver puts into a transmit queue (VIRTIO 1.3, 5.1.6.2): the kernel reads each frame straight from the
 * driver's buffers. Nothing is under way between two calls.
 */
export class Transmitter {
  readonly #queue: BackEndQueue;
  readonly #carrier: FrameCarrier;
  readonly #gate: RateGate | undefined;
  readonly #frames = new FrameBatch();
  readonly #heads = new Uint16Array(FrameBatch.maxFrames);

  /** @param gate what frames have to pass; without it they are not limited */
  constructor(queue: BackEndQueue, carrier: FrameCarrier, gate?: RateGate) {
    this.#queue = queue;
    this.#carrier = carrier;
    this.#gate = gate;
  }

  /** Gives back its memory. */
  close(): void {
    this.#frames.close();
  }

  /**
   * Sends what there is, a queue's worth at most: the doorbell rings by itself then.
   * @returns whether the carrier has to become writable before more can be sent
   * @throws SysError when the carrier is broken
   */
  pump(): boolean {
    const queue = this.#queue;
    const { ring } = queue;
    if (ring === undefined) return false;
    for (let budget = ring.size; budget > 0; ) {
      if (this.#gate?.isOpen === false) return false;
      const count = this.#collect(ring);
      if (count === 0) {
        queue.publish();
        if (!queue.enableNotifications()) return false;
        // A driver that goes on offering nothing but bad chains does not get far.
        budget >>= 1;
        continue;
      }
      const sent = this.#carrier.send(this.#frames);
      for (let i = 0; i < sent; i++) this.#complete(ring, i);
      for (let i = count - 1; i >= sent; i--) ring.unpop(this.#heads[i] ?? 0);
      queue.publish();
      if (sent < count) return true;
      budget -= sent;
    }
    signalEventFd(queue.doorbell);
    return false;
  }

  /** Takes a batch of frames. @returns how many there are */
  #collect(ring: Queue): number {
    const queue = this.#queue;
    const frames = this.#frames;
    const { chain } = ring;
    const most = batchFrames(this.#gate);
    frames.clear();
    // What is no frame counts as well: a driver that offers nothing else must not keep the thread.
    for (let tries = ring.size; frames.count < most && tries > 0; tries--) {
      const head = queue.take(frames.count);
      if (head === NO_CHAIN) break;
      if (isFrame(chain) && frames.fits(chain.count)) this.#add(chain, head);
      else if (frames.count === 0) ring.complete(head, 0);
      else {
        ring.unpop(head);
        break;
      }
    }
    return frames.count;
  }

  #add(chain: DescriptorChain, head: number): void {
    const frames = this.#frames;
    const skip = this.#carrier.hasHeader ? 0 : NET_HEADER_BYTES;
    const segments = chain.readableIovecs(frames.table, skip, Number.POSITIVE_INFINITY, frames.next);
    this.#heads[frames.count] = head;
    frames.add(segments, chain.readableBytes - skip);
  }

  /** Gives the chain of a frame back to the driver. This is where a frame has been sent, or dropped. */
  #complete(ring: Queue, index: number): void {
    ring.complete(this.#heads[index] ?? 0, 0);
    const moved = this.#frames.lengths[index] ?? 0;
    if (moved === 0) return;
    const frameBytes = this.#carrier.hasHeader ? moved - NET_HEADER_BYTES : moved;
    const { counters } = this.#queue;
    counters[BYTES] = (counters[BYTES] ?? 0) + frameBytes;
    counters[FRAMES] = (counters[FRAMES] ?? 0) + 1;
    this.#gate?.pass(frameBytes);
  }
}

/** Whether a chain is a header and a frame of possible length, and nothing to be written. */
const isFrame = ({ count, readableCount, readableBytes }: DescriptorChain): boolean =>
  readableCount === count && readableBytes > NET_HEADER_BYTES && readableBytes <= NET_HEADER_BYTES + MAX_FRAME_BYTES;
