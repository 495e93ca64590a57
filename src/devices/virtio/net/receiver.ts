import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { FrameBatch } from "../../../net/frame-batch.ts";
import type { FrameCarrier } from "../../../net/frame-carrier.ts";
import type { RateGate } from "../../rate-limit/rate-gate.ts";
import { NO_CHAIN, type Queue } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";
import { NET_HEADER_BYTES, NUM_BUFFERS_OFFSET } from "./protocol.ts";
import { batchFrames } from "./rate-limit.ts";

/** Counters of a receive queue, by their places in `NET_COUNTERS`. */
const BYTES = 0;
const FRAMES = 1;

/** What `Receiver.pump` waits for next. */
export type ReceiveWait =
  /** For buffers: the driver will ring. */
  | "buffers"
  /** For its rate limiter, whose timer will expire. */
  | "limit"
  /** For frames: the carrier will become readable. */
  | "frames";

/**
 * Fills a receive queue (VIRTIO 1.3, 5.1.6.4): the kernel writes each frame straight into the driver's buffers. Nothing is
 * under way between two calls.
 */
export class Receiver {
  readonly #queue: BackEndQueue;
  readonly #carrier: FrameCarrier;
  readonly #memory: GuestMemory;
  readonly #gate: RateGate | undefined;
  readonly #rooms = new FrameBatch();
  /** Of each room, its chain and where the two bytes of num_buffers go. */
  readonly #heads: Uint16Array;
  readonly #lowBytes: Float64Array;
  readonly #highBytes: Float64Array;
  /** Rooms to offer at once: as many as there were frames of late, so that few chains are put back. */
  #expected = 1;

  /** @param gate what frames have to pass; without it they are not limited */
  constructor(queue: BackEndQueue, carrier: FrameCarrier, memory: GuestMemory, gate?: RateGate) {
    const { maxFrames } = FrameBatch;
    this.#queue = queue;
    this.#carrier = carrier;
    this.#memory = memory;
    this.#gate = gate;
    this.#heads = new Uint16Array(maxFrames);
    this.#lowBytes = new Float64Array(maxFrames);
    this.#highBytes = new Float64Array(maxFrames);
  }

  /** Gives back its memory. */
  close(): void {
    this.#rooms.close();
  }

  /**
   * Receives what there is, a queue's worth at most, as long as the driver has buffers.
   * @throws SysError when the carrier is broken
   */
  pump(): ReceiveWait {
    const queue = this.#queue;
    const { ring } = queue;
    if (ring === undefined) return "buffers";
    for (let budget = ring.size; budget > 0 && queue.ring !== undefined; ) {
      if (this.#gate?.isOpen === false) {
        queue.publish();
        return "limit";
      }
      const rooms = this.#collect(ring);
      if (rooms === 0) {
        queue.publish();
        if (!queue.enableNotifications()) return "buffers";
        // A driver that goes on offering nothing but bad chains does not get far.
        budget >>= 1;
        continue;
      }
      const frames = this.#carrier.receive(this.#rooms);
      for (let i = 0; i < frames; i++) this.#complete(ring, i);
      for (let i = rooms - 1; i >= frames; i--) ring.unpop(this.#heads[i] ?? 0);
      budget -= frames;
      if (frames < rooms) {
        this.#expected = Math.max(1, frames);
        break;
      }
      this.#expected = Math.min(2 * rooms, batchFrames(this.#gate));
    }
    queue.publish();
    return queue.ring === undefined ? "buffers" : "frames";
  }

  /** Takes as many chains as frames are expected. @returns how many there are */
  #collect(ring: Queue): number {
    const queue = this.#queue;
    const rooms = this.#rooms;
    const { chain } = ring;
    rooms.clear();
    // What is no room counts as well: a driver that offers nothing else must not keep the thread.
    for (let tries = ring.size; rooms.count < this.#expected && tries > 0; tries--) {
      const head = queue.take(rooms.count);
      if (head === NO_CHAIN) break;
      const fits = chain.readableCount === 0 && chain.writableBytes > NET_HEADER_BYTES && rooms.fits(chain.count);
      if (fits) this.#add(ring, head);
      else if (rooms.count === 0) ring.complete(head, 0);
      else {
        ring.unpop(head);
        break;
      }
    }
    return rooms.count;
  }

  #add({ chain }: Queue, head: number): void {
    const rooms = this.#rooms;
    const { count } = rooms;
    const skip = this.#carrier.hasHeader ? 0 : NET_HEADER_BYTES;
    const segments = chain.writableIovecs(rooms.table, skip, Number.POSITIVE_INFINITY, rooms.next);
    // What the carrier does not write: a header that says nothing.
    for (let i = 0; i < skip; i++) chain.writeU8(i, 0);
    this.#heads[count] = head;
    this.#lowBytes[count] = chain.writableGpa(NUM_BUFFERS_OFFSET);
    this.#highBytes[count] = chain.writableGpa(NUM_BUFFERS_OFFSET + 1);
    rooms.add(segments, chain.writableBytes - skip);
  }

  /** Gives the chain of a room back to the driver. This is where a frame has been received. */
  #complete(ring: Queue, room: number): void {
    const moved = this.#rooms.lengths[room] ?? 0;
    const received = moved > 0;
    const frameBytes = this.#carrier.hasHeader ? moved - NET_HEADER_BYTES : moved;
    // The kernel leaves num_buffers alone.
    this.#memory.writeU8(this.#lowBytes[room] ?? 0, received ? 1 : 0);
    this.#memory.writeU8(this.#highBytes[room] ?? 0, 0);
    ring.complete(this.#heads[room] ?? 0, received ? frameBytes + NET_HEADER_BYTES : 0);
    if (!received) return;
    const { counters } = this.#queue;
    counters[BYTES] = (counters[BYTES] ?? 0) + frameBytes;
    counters[FRAMES] = (counters[FRAMES] ?? 0) + 1;
    this.#gate?.pass(frameBytes);
  }
}
