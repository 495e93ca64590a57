import { EpollEvent } from "../../../host/epoll.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import type { NoticeListener } from "../../notices.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEnd, BackEndQueue } from "../transport/back-end.ts";
import { STATISTICS_WORD, StatisticsWish } from "./device.ts";
import { readStatistics } from "./statistics.ts";

/**
 * The queue on which the guest tells its statistics: it offers one buffer, and giving that back asks for the next
 * (VIRTIO 1.3, 5.5.6.3). The buffer stays in the ring meanwhile, so that nothing of it is lost when the VM is saved.
 */
export class StatisticsQueue implements IoClient {
  readonly #backEnd: BackEnd;
  readonly #queue: BackEndQueue;
  readonly #notify: NoticeListener;

  constructor(loop: IoLoop, backEnd: BackEnd, queue: BackEndQueue, notify: NoticeListener) {
    this.#backEnd = backEnd;
    this.#queue = queue;
    this.#notify = notify;
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
    const { words, id } = this.#backEnd;
    const wish = Atomics.load(words, STATISTICS_WORD);
    if (!news && wish !== StatisticsWish.WANTED) return;
    const head = queue.take();
    const { ring } = queue;
    if (ring === undefined) return;
    if (head !== NO_CHAIN) {
      if (news) readStatistics(ring.chain, queue.counters);
      if (wish === StatisticsWish.WANTED) {
        Atomics.store(words, STATISTICS_WORD, StatisticsWish.ASKED_FOR);
        ring.complete(head, 0);
      } else {
        ring.unpop(head);
        // Somebody may want some again meanwhile.
        const { ASKED_FOR, NONE } = StatisticsWish;
        if (Atomics.compareExchange(words, STATISTICS_WORD, ASKED_FOR, NONE) === ASKED_FOR)
          this.#notify({ kind: "statistics", id });
      }
    }
    queue.publish();
    queue.enableNotifications();
  }
}
