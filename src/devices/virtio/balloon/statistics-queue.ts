import { EpollEvent } from "../../../host/epoll.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEnd, BackEndQueue } from "../transport/back-end.ts";
import { STATISTICS_WANTED } from "./device.ts";
import { readStatistics } from "./statistics.ts";

/**
 * The queue on which the guest tells its statistics: it offers one buffer, and giving that back asks for the next
 * (VIRTIO 1.3, 5.5.6.3). The buffer stays in the ring meanwhile, so that nothing of it is lost when the VM is saved.
 */
export class StatisticsQueue implements IoClient {
  readonly #words: Uint32Array;
  readonly #queue: BackEndQueue;

  constructor(loop: IoLoop, { words }: BackEnd, queue: BackEndQueue) {
    this.#words = words;
    this.#queue = queue;
    loop
      .watch(queue.doorbell, () => {
        queue.drainDoorbell();
        this.#look(true);
      })
      .set(EpollEvent.IN);
  }

  wake(): void {
    const change = this.#queue.update();
    if (change === "recalled") this.#queue.release();
    this.#look(change === "started");
  }

  pause(): void {
    // Nothing is in flight.
  }

  /** @param news whether the buffer may be one that has not been read */
  #look(news: boolean): void {
    const queue = this.#queue;
    const wanted = Atomics.load(this.#words, STATISTICS_WANTED) !== 0;
    if (!news && !wanted) return;
    const head = queue.take();
    const { ring } = queue;
    if (ring === undefined) return;
    if (head !== NO_CHAIN) {
      if (news) readStatistics(ring.chain, queue.counters);
      if (wanted) {
        Atomics.store(this.#words, STATISTICS_WANTED, 0);
        ring.complete(head, 0);
      } else ring.unpop(head);
    }
    queue.publish();
    queue.enableNotifications();
  }
}
