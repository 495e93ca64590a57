import { EpollEvent } from "../../../host/epoll.ts";
import { Errno } from "../../../host/errno.ts";
import { signalEventFd } from "../../../host/eventfd.ts";
import { iovecTable } from "../../../host/iovec.ts";
import { errno, libc } from "../../../host/libc.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { guestLogger } from "../../../threads/log.ts";
import type { IoClient, IoLoop, Watch } from "../../io-loop.ts";
import type { RateGate } from "../../rate-limit/rate-gate.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import { BackEnd, type BackEndQueue } from "../transport/back-end.ts";
import { type RngWiring, rngDevice } from "./device.ts";

const log = guestLogger("virtio-rng");

/** A chain gets at most this much at a time, since generating it holds up the thread. */
const MAX_BYTES = 65536;

/** Fills the driver's buffers from a source of entropy, which the kernel writes straight into guest memory. */
export class RngBackEnd implements IoClient {
  readonly #queue: BackEndQueue | undefined;
  readonly #sourceFd: number;
  readonly #source: Watch;
  readonly #iovecs = iovecTable();
  readonly #gate: RateGate | undefined;

  /**
   * @param gate what requests have to pass; without it they are not limited
   * @throws SysError
   */
  constructor(loop: IoLoop, wiring: RngWiring, memory: GuestMemory, gate?: RateGate) {
    const backEnd = new BackEnd(rngDevice, wiring.transport, memory);
    const [queue] = backEnd.queues;
    this.#queue = queue;
    this.#sourceFd = wiring.sourceFd;
    this.#source = loop.watch(wiring.sourceFd, () => {
      this.#source.set(0);
      this.#fill();
    });
    this.#gate = gate;
    if (gate !== undefined) loop.watch(gate.timerFd, () => this.#fill()).set(EpollEvent.IN | EpollEvent.ET);
    if (queue !== undefined)
      loop
        .watch(queue.doorbell, () => {
          queue.drainDoorbell();
          this.#fill();
        })
        .set(EpollEvent.IN);
  }

  wake(): void {
    if (this.#queue?.update() === "recalled") {
      this.#source.set(0);
      this.#queue.release();
    }
    this.#fill();
  }

  /** Nothing is ever in flight between two calls. */
  pause(): void {
    this.#source.set(0);
  }

  #fill(): void {
    const queue = this.#queue;
    const ring = queue?.ring;
    if (queue === undefined || ring === undefined) return;
    for (let chains = 0; chains < ring.size; chains++) {
      if (this.#gate?.isOpen === false) {
        queue.publish();
        return;
      }
      const head = queue.take();
      if (head === NO_CHAIN) {
        queue.publish();
        if (!queue.enableNotifications()) return;
        continue;
      }
      const count = ring.chain.writableIovecs(this.#iovecs.u32, 0, MAX_BYTES);
      const filled = count === 0 ? 0 : libc.readv(this.#sourceFd, this.#iovecs.address, count);
      const error = filled < 0 ? errno() : 0;
      if (error === Errno.EAGAIN || error === Errno.EINTR) {
        ring.unpop(head);
        queue.publish();
        // Interrupted by a wake-up, which comes first; what cannot block cannot be waited for either.
        if (error === Errno.EINTR) signalEventFd(queue.doorbell);
        else this.#source.set(EpollEvent.IN);
        return;
      }
      if (filled < 0) log.warn("cannot read the source of entropy");
      ring.complete(head, Math.max(0, filled));
      // How much the source gives is known afterwards: what follows waits until it is paid for.
      this.#gate?.pass(Math.max(0, filled));
    }
    // More than a queue's worth at once: the other devices of this thread come first.
    queue.publish();
    signalEventFd(queue.doorbell);
  }
}
