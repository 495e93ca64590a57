import type { Disk } from "../../../block/disk.ts";
import { SECTOR_BYTES } from "../../../block/topology.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { guestLogger } from "../../../threads/log.ts";
import type { RateGate } from "../../rate-limit/rate-gate.ts";
import type { DescriptorChain } from "../queue/descriptor-chain.ts";
import { NO_CHAIN, type Queue } from "../queue/queue.ts";
import { QueueError } from "../queue/queue-error.ts";
import type { BackEnd, BackEndQueue } from "../transport/back-end.ts";
import { Admission } from "./admission.ts";
import { Direction } from "./counters.ts";
import { type BlockSettings, canDiscard } from "./device.ts";
import {
  BlockFeature,
  BlockRequest,
  BlockStatus,
  blockConfig,
  FLAG_UNMAP,
  HEADER_BYTES,
  HEADER_SECTOR,
  SEGMENT_BYTES,
  SEGMENT_FLAGS,
  SEGMENT_SECTORS,
  STATUS_BYTES,
} from "./protocol.ts";
import { RequestStats } from "./request-stats.ts";

const log = guestLogger("block");

const WRITEBACK = blockConfig.offsets.writeback;
/** The length of a used element for a chain that is no request. */
const NOTHING_WRITTEN = 0;

/**
 * The requests of one queue of a block device (VIRTIO 1.3, 5.2.6). A thread's pass: `start`, let the disk `wait`, `finish`; before
 * it sleeps, `enableNotifications`.
 * What is known of requests under way lies in flat arrays by tag: nothing is allocated for a request.
 */
export class BlockQueue {
  readonly #backEnd: BackEnd;
  readonly #queue: BackEndQueue;
  readonly #disk: Disk;
  readonly #memory: GuestMemory;
  /** Capacity in sectors as two words of the live configuration: it can change while the thread is parked. */
  readonly #capacity: Uint32Array;
  readonly #readonly: boolean;
  readonly #protectFirstSector: boolean;
  readonly #canDiscard: boolean;
  readonly #canWriteZeroes: boolean;
  readonly #serial: Uint8Array;

  /** Of the request under each tag. */
  readonly #heads: Uint16Array;
  /** Where its status goes, guest physical. */
  readonly #statuses: Float64Array;
  /** Length of its used element if it succeeds. */
  readonly #written: Float64Array;
  /** Whether it changes the disk, and so has to be made durable before it is done when there is no write cache. */
  readonly #changes: Uint8Array;
  /** Tags that no request is under; a stack. */
  readonly #free: Uint16Array;
  #freeCount: number;
  readonly #stats: RequestStats;
  readonly #admission: Admission;
  #flushAccepted = false;
  #writeCacheAccepted = false;

  /** @param gate what requests have to pass; without it they are not limited */
  constructor(
    backEnd: BackEnd,
    queue: BackEndQueue,
    settings: BlockSettings,
    disk: Disk,
    memory: GuestMemory,
    gate?: RateGate,
  ) {
    const { tags } = disk;
    this.#backEnd = backEnd;
    this.#queue = queue;
    this.#disk = disk;
    this.#memory = memory;
    const { buffer, byteOffset } = backEnd.config;
    this.#capacity = new Uint32Array(buffer, byteOffset + blockConfig.offsets.capacity, 2);
    this.#readonly = settings.image.readonly;
    this.#protectFirstSector = settings.protectFirstSector;
    this.#canDiscard = canDiscard(settings);
    this.#canWriteZeroes = settings.image.canBeSparse;
    this.#serial = settings.serial;
    this.#heads = new Uint16Array(tags);
    this.#statuses = new Float64Array(tags);
    this.#written = new Float64Array(tags);
    this.#changes = new Uint8Array(tags);
    this.#free = Uint16Array.from({ length: tags }, (_, tag) => tag);
    this.#freeCount = tags;
    this.#stats = new RequestStats(queue.counters, tags);
    this.#admission = new Admission(gate);
    disk.watch(queue.doorbell);
    if (gate !== undefined) disk.watch(gate.timerFd);
  }

  /** Requests that the disk has. */
  get underWay(): number {
    return this.#disk.underWay;
  }

  /**
   * Starts with the driver.
   * @returns whether the driver takes the queue back: it waits for `release`, before which nothing may be under way
   */
  update(): boolean {
    const change = this.#queue.update();
    if (change !== "started") return change === "recalled";
    this.#flushAccepted = this.#backEnd.hasFeature(BlockFeature.FLUSH);
    this.#writeCacheAccepted = this.#backEnd.hasFeature(BlockFeature.CONFIG_WCE);
    this.#backEnd.config[WRITEBACK] = this.#hasWriteCache() ? 1 : 0;
    return false;
  }

  /** Gives the queue back to the driver. */
  release(): void {
    this.#backEnd.config[WRITEBACK] = 1;
    this.#queue.release();
  }

  /** Interrupts the driver whether or not it has to know anything. */
  interrupt(): void {
    if (this.#queue.ring !== undefined) this.#queue.interrupt();
  }

  /**
   * Whether a write may be reported done before it is durable (5.2.5.1): the driver has to know of flushing, and can
   * decide at run time if it knows how.
   */
  #hasWriteCache(): boolean {
    return this.#flushAccepted && (!this.#writeCacheAccepted || this.#backEnd.config[WRITEBACK] === 1);
  }

  /** Hands new requests to the disk. @returns whether there were any */
  start(): boolean {
    const { ring } = this.#queue;
    if (ring === undefined) return false;
    try {
      return this.#startRequests(ring);
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.#queue.fail(error);
      return false;
    }
  }

  /** Gives the driver what the disk has finished. @returns whether there was anything */
  finish(): boolean {
    const any = this.#finishRequests();
    this.#queue.publish();
    return any;
  }

  /** One that waits for the rate limiter goes back to the ring. For when no request is to be started for a while. */
  putBack(): void {
    this.#admission.putBack(this.#queue.ring);
  }

  /** Whether the driver has made requests available that can be started. */
  hasChains(): boolean {
    return this.#canStart() && this.#queue.ring?.hasChains() === true;
  }

  /** Has the driver notify about its next request. @returns whether there is one already, for which no notification may come */
  enableNotifications(): boolean {
    return this.#canStart() && this.#queue.enableNotifications();
  }

  /** Without a tag, or past the limiter, nothing starts before something else has happened. */
  #canStart(): boolean {
    return this.#freeCount > 0 && !this.#admission.isHolding;
  }

  /** Starts requests while there are any and tags for them. @returns whether there were any @throws QueueError */
  #startRequests(ring: Queue): boolean {
    let any = false;
    this.#stats.beginBatch();
    // No more than one round of the ring: a driver that goes on for ever must not keep the thread from anything else.
    for (let taken = 0; taken < ring.size && this.#freeCount > 0; taken++) {
      try {
        const head = this.#admission.next(ring);
        if (head === NO_CHAIN) return any;
        any = true;
        this.#start(ring, head);
      } catch (error) {
        if (!(error instanceof QueueError) || error.head === undefined) throw error;
        any = true;
        log.debug(() => `${this.#backEnd.id}: ${error.message}`);
        ring.complete(error.head, NOTHING_WRITTEN);
      }
    }
    return any;
  }

  /** Takes all requests that have finished. @returns whether there were any */
  #finishRequests(): boolean {
    const disk = this.#disk;
    let any = false;
    this.#stats.beginBatch();
    while (disk.next()) {
      any = true;
      const { tag, error } = disk;
      if (error === 0 && this.#changes[tag] !== 0 && !this.#hasWriteCache()) {
        this.#changes[tag] = 0;
        disk.flush(tag);
        continue;
      }
      if (error === 0) this.#stats.succeeded(tag);
      else log.warn(() => `${this.#backEnd.id}: a request failed with errno ${error}`);
      this.#free[this.#freeCount++] = tag;
      const { ring } = this.#queue;
      if (ring === undefined) continue;
      this.#memory.writeU8(this.#statuses[tag] ?? 0, error === 0 ? BlockStatus.OK : BlockStatus.IOERR);
      ring.complete(this.#heads[tag] ?? 0, error === 0 ? (this.#written[tag] ?? 0) : STATUS_BYTES);
    }
    return any;
  }

  /** Starts the request in the ring's chain, or answers it at once. */
  #start(ring: Queue, head: number): void {
    const { chain } = ring;
    if (chain.readableBytes < HEADER_BYTES || chain.writableBytes < STATUS_BYTES) {
      ring.complete(head, NOTHING_WRITTEN);
      return;
    }
    const type = chain.readU32(0);
    if (this.#readonly && type !== BlockRequest.IN && type !== BlockRequest.GET_ID && type !== BlockRequest.FLUSH) {
      this.#answer(ring, head, BlockStatus.IOERR);
      return;
    }
    switch (type) {
      case BlockRequest.IN:
        this.#read(ring, head);
        break;
      case BlockRequest.OUT:
        this.#write(ring, head);
        break;
      case BlockRequest.FLUSH:
        this.#flush(chain, head);
        break;
      case BlockRequest.GET_ID:
        this.#identify(ring, head);
        break;
      case BlockRequest.DISCARD:
      case BlockRequest.WRITE_ZEROES:
        this.#clear(ring, head, type);
        break;
      default:
        this.#answer(ring, head, BlockStatus.UNSUPP);
    }
  }

  #flush(chain: DescriptorChain, head: number): void {
    const tag = this.#take(chain, head, STATUS_BYTES, false);
    this.#stats.started(tag, Direction.NEITHER, 0);
    this.#disk.flush(tag);
  }

  #read(ring: Queue, head: number): void {
    const { chain } = ring;
    if (chain.readableBytes !== HEADER_BYTES) {
      ring.complete(head, NOTHING_WRITTEN);
      return;
    }
    const length = chain.writableBytes - STATUS_BYTES;
    const sector = chain.readU64(HEADER_SECTOR);
    if (!this.#isInside(sector, length)) this.#answer(ring, head, BlockStatus.IOERR);
    else if (length === 0) this.#answer(ring, head, BlockStatus.OK);
    else {
      const tag = this.#take(chain, head, length + STATUS_BYTES, false);
      const segments = this.#disk.segments(tag);
      this.#stats.started(tag, Direction.READ, length);
      this.#disk.read(tag, sector * SECTOR_BYTES, length, chain.writableIovecs(segments, 0, length));
    }
  }

  #write(ring: Queue, head: number): void {
    const { chain } = ring;
    // The status is all that the device may write.
    if (chain.count - chain.readableCount !== 1) {
      ring.complete(head, NOTHING_WRITTEN);
      return;
    }
    const length = chain.readableBytes - HEADER_BYTES;
    const sector = chain.readU64(HEADER_SECTOR);
    if (!this.#isInside(sector, length) || (sector === 0 && this.#protectFirstSector))
      this.#answer(ring, head, BlockStatus.IOERR);
    else if (length === 0) this.#answer(ring, head, BlockStatus.OK);
    else {
      const tag = this.#take(chain, head, STATUS_BYTES, true);
      const segments = this.#disk.segments(tag);
      this.#stats.started(tag, Direction.WRITE, length);
      this.#disk.write(tag, sector * SECTOR_BYTES, length, chain.readableIovecs(segments, HEADER_BYTES));
    }
  }

  #identify(ring: Queue, head: number): void {
    const { chain } = ring;
    const serial = this.#serial;
    if (chain.readableBytes !== HEADER_BYTES) {
      ring.complete(head, NOTHING_WRITTEN);
      return;
    }
    if (chain.writableBytes - STATUS_BYTES < serial.length) {
      this.#answer(ring, head, BlockStatus.IOERR);
      return;
    }
    chain.write(0, serial);
    chain.writeU8(chain.writableBytes - STATUS_BYTES, BlockStatus.OK);
    ring.complete(head, serial.length + STATUS_BYTES);
  }

  /** Discards or zeroes (5.2.6.2). */
  #clear(ring: Queue, head: number, type: number): void {
    const { chain } = ring;
    if (chain.count - chain.readableCount !== 1) {
      ring.complete(head, NOTHING_WRITTEN);
      return;
    }
    const zeroes = type === BlockRequest.WRITE_ZEROES;
    if (!(zeroes ? this.#canWriteZeroes : this.#canDiscard)) {
      this.#answer(ring, head, BlockStatus.UNSUPP);
      return;
    }
    if (chain.readableBytes !== HEADER_BYTES + SEGMENT_BYTES) {
      this.#answer(ring, head, BlockStatus.IOERR);
      return;
    }
    const flags = chain.readU32(HEADER_BYTES + SEGMENT_FLAGS);
    if ((flags & (zeroes ? ~FLAG_UNMAP : ~0)) !== 0) {
      this.#answer(ring, head, BlockStatus.UNSUPP);
      return;
    }
    const sector = chain.readU64(HEADER_BYTES);
    const length = chain.readU32(HEADER_BYTES + SEGMENT_SECTORS) * SECTOR_BYTES;
    if (!this.#isInside(sector, length) || (sector === 0 && this.#protectFirstSector))
      this.#answer(ring, head, BlockStatus.IOERR);
    else if (length === 0) this.#answer(ring, head, BlockStatus.OK);
    else {
      const tag = this.#take(chain, head, STATUS_BYTES, true);
      const offset = sector * SECTOR_BYTES;
      this.#stats.started(tag, Direction.NEITHER, 0);
      if (zeroes) this.#disk.writeZeroes(tag, offset, length, (flags & FLAG_UNMAP) !== 0 && this.#canDiscard);
      else this.#disk.discard(tag, offset, length);
    }
  }

  /** Whether whole sectors from `sector` on lie inside the disk. */
  #isInside(sector: number, length: number): boolean {
    const sectors = (this.#capacity[0] ?? 0) + (this.#capacity[1] ?? 0) * 0x1_0000_0000;
    return length % SECTOR_BYTES === 0 && sector <= sectors && length / SECTOR_BYTES <= sectors - sector;
  }

  /** Takes a tag for a request that will be under way. */
  #take(chain: DescriptorChain, head: number, written: number, changes: boolean): number {
    const tag = this.#free[--this.#freeCount] ?? 0;
    const last = chain.count - 1;
    this.#heads[tag] = head;
    this.#statuses[tag] = (chain.gpas[last] ?? 0) + (chain.lengths[last] ?? 0) - STATUS_BYTES;
    this.#written[tag] = written;
    this.#changes[tag] = changes ? 1 : 0;
    return tag;
  }

  /** Ends a request that is not started. */
  #answer(ring: Queue, head: number, status: number): void {
    const { chain } = ring;
    chain.writeU8(chain.writableBytes - STATUS_BYTES, status);
    ring.complete(head, STATUS_BYTES);
  }
}
