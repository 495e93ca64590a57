import { EpollEvent } from "../../../host/epoll.ts";
import { SysError } from "../../../host/errno.ts";
import { signalEventFd } from "../../../host/eventfd.ts";
import { IoUringOp } from "../../../host/io-uring/abi.ts";
import { IoUring, IoUringUnavailableError, POLLABLE_FLAG_SETS } from "../../../host/io-uring/io-uring.ts";
import { errno, libc } from "../../../host/libc.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { logger } from "../../../threads/log.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import { NO_CHAIN, type Queue } from "../queue/queue.ts";
import { BackEnd, type BackEndQueue } from "../transport/back-end.ts";
import { type PmemWiring, pmemDevice } from "./device.ts";

const log = logger("virtio-pmem");

/** struct virtio_pmem_req and virtio_pmem_resp (VIRTIO 1.3, 5.19.6): a 32-bit word each. */
const WORD_BYTES = 4;
const REQUEST_FLUSH = 0;
const Result = { OK: 0, EIO: 1 } as const;

/**
 * Makes the file of a persistent memory device durable when the driver asks for it. The host's disk may take long over that,
 * so the kernel does it while the thread serves other devices; requests that arrive meanwhile share the next flush.
 */
export class PmemBackEnd implements IoClient {
  readonly #id: string;
  readonly #memory: GuestMemory;
  readonly #queue: BackEndQueue | undefined;
  readonly #fd: number;
  /** Without one, flushes hold the thread up. */
  readonly #ring: IoUring | undefined;
  /** Flush requests by the flush that answers them: the one under way, and the next. */
  #running: FlushRequest[] = [];
  #next: FlushRequest[] = [];
  #busy = false;
  #failed = false;

  /** @throws SysError */
  constructor(loop: IoLoop, wiring: PmemWiring, memory: GuestMemory) {
    const backEnd = new BackEnd(pmemDevice(wiring.region), wiring.transport, memory);
    const [queue] = backEnd.queues;
    this.#id = backEnd.id;
    this.#memory = memory;
    this.#queue = queue;
    this.#fd = wiring.fd;
    this.#ring = tryRing();
    const ring = this.#ring;
    if (ring !== undefined) loop.watch(ring.pollFd, () => this.#collect(ring)).set(EpollEvent.IN);
    if (queue !== undefined)
      loop
        .watch(queue.doorbell, () => {
          queue.drainDoorbell();
          this.#serve();
        })
        .set(EpollEvent.IN);
  }

  wake(): void {
    const queue = this.#queue;
    if (queue?.update() === "recalled") {
      // A flush touches none of the guest's memory, so the driver need not wait for it: its requests are forgotten.
      this.#running.length = 0;
      this.#next.length = 0;
      this.#failed = false;
      queue.release();
    }
    this.#serve();
  }

  /** Requests under way are in no snapshot, so they are finished. */
  pause(): void {
    const ring = this.#ring;
    while (ring !== undefined && this.#busy) {
      ring.enter(1);
      this.#collect(ring);
    }
  }

  close(): void {
    this.#ring?.close();
  }

  #serve(): void {
    const queue = this.#queue;
    const ring = queue?.ring;
    if (queue === undefined || ring === undefined) return;
    for (let chains = 0; chains < ring.size; chains++) {
      const head = queue.take();
      if (head !== NO_CHAIN) {
        this.#take(ring, head);
        continue;
      }
      queue.publish();
      if (queue.enableNotifications()) continue;
      this.#flush();
      return;
    }
    // More than a queue's worth at once: the other devices of this thread come first.
    queue.publish();
    this.#flush();
    signalEventFd(queue.doorbell);
  }

  #take(ring: Queue, head: number): void {
    const { chain } = ring;
    if (chain.readableBytes < WORD_BYTES || chain.writableBytes < WORD_BYTES) {
      ring.complete(head, 0);
      return;
    }
    const response = Array.from({ length: WORD_BYTES }, (_, i) => chain.writableGpa(i));
    const request: FlushRequest = { head, response };
    if (chain.readU32(0) === REQUEST_FLUSH) this.#next.push(request);
    else this.#answer(request, Result.EIO);
  }

  /** Starts a flush for the requests that wait for one, unless one is under way. */
  #flush(): void {
    const ring = this.#ring;
    if (this.#busy || this.#next.length === 0) return;
    [this.#running, this.#next] = [this.#next, this.#running];
    if (ring === undefined) {
      this.#finish(libc.fdatasync(this.#fd) < 0 ? errno() : 0);
      return;
    }
    this.#busy = true;
    ring.sync(this.#fd, 0);
    do ring.enter(0);
    while (ring.unsubmitted > 0);
  }

  #collect(ring: IoUring): void {
    if (!ring.next()) return;
    this.#busy = false;
    this.#finish(-Math.min(0, ring.result));
    this.#flush();
  }

  /** @param error 0 when the file is durable */
  #finish(error: number): void {
    // Once told of a failure, the kernel may take the pages it could not write for clean: later flushes prove nothing.
    if (error !== 0 && !this.#failed) {
      log.error(`${this.#id} cannot be made durable: ${new SysError(error, "fdatasync").message}`);
      this.#failed = true;
    }
    for (const request of this.#running) this.#answer(request, this.#failed ? Result.EIO : Result.OK);
    this.#running.length = 0;
    this.#queue?.publish();
  }

  #answer({ head, response }: FlushRequest, result: number): void {
    response.forEach((gpa, i) => {
      this.#memory.writeU8(gpa, i === 0 ? result : 0);
    });
    this.#queue?.ring?.complete(head, WORD_BYTES);
  }
}

/** A flush that the driver waits for, and the guest address of each byte of the answer. */
interface FlushRequest {
  readonly head: number;
  readonly response: readonly number[];
}

/** @throws SysError */
function tryRing(): IoUring | undefined {
  try {
    return new IoUring(1, 1, [IoUringOp.FSYNC], POLLABLE_FLAG_SETS);
  } catch (error) {
    if (!(error instanceof IoUringUnavailableError)) throw error;
    log.warn(`flushes of persistent memory hold up other devices: ${error.message}`);
    return undefined;
  }
}
