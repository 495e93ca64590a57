import { EpollEvent } from "../../../host/epoll.ts";
import { signalEventFd } from "../../../host/eventfd.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import type { DescriptorChain } from "../queue/descriptor-chain.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEndQueue } from "./back-end.ts";

/** What to do with a chain of one queue. */
export interface ChainHandler {
  /**
   * Does what a chain asks for, at once. It may fail the queue.
   * @param chain valid during the call
   * @returns bytes written into its device-writable part
   */
  handle(chain: DescriptorChain): number;
  /** The driver has started the queue, or lets go of it. */
  changed?(change: "started" | "recalled"): void;
}

/** Serves a queue whose chains are done as they come: nothing is ever in flight between two calls. */
export class ChainServer implements IoClient {
  readonly #queue: BackEndQueue;
  readonly #handler: ChainHandler;
  readonly #burst: number;

  /** @param burst how many chains are served before the other devices of the thread have their turn */
  constructor(loop: IoLoop, queue: BackEndQueue, handler: ChainHandler, burst = 64) {
    this.#queue = queue;
    this.#handler = handler;
    this.#burst = burst;
    loop
      .watch(queue.doorbell, () => {
        queue.drainDoorbell();
        this.#serve();
      })
      .set(EpollEvent.IN);
  }

  wake(): void {
    const change = this.#queue.update();
    if (change === "recalled") this.#queue.release();
    if (change !== "none") this.#handler.changed?.(change);
    this.#serve();
  }

  pause(): void {
    // Nothing is in flight.
  }

  #serve(): void {
    const queue = this.#queue;
    for (let turn = 0; turn < this.#burst; turn++) {
      const head = queue.take();
      const { ring } = queue;
      if (ring === undefined) return;
      if (head === NO_CHAIN) {
        queue.publish();
        if (!queue.enableNotifications()) return;
        continue;
      }
      const written = this.#handler.handle(ring.chain);
      if (queue.ring !== ring) return;
      ring.complete(head, written);
    }
    queue.publish();
    signalEventFd(queue.doorbell);
  }
}
