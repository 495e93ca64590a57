import { signalEventFd } from "../../../host/eventfd.ts";
import { IOVEC_WORDS, iovecTable } from "../../../host/iovec.ts";
import type { Chardev } from "../../chardev/chardev.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";

/** At most this much before the other devices of the thread have their turn. */
const PASS_BYTES = 65536;
/** In 32-bit words. */

/**
 * Output of the console: from the driver's buffers to the host's end. A reader that is slow holds the queue up, not the
 * thread; where nobody reads, the driver never waits for long.
 */
export class ConsoleOutput {
  readonly #queue: BackEndQueue;
  readonly #chardev: Chardev | undefined;
  readonly #iovecs = iovecTable();
  /** The chain that is being taken, and how much of it has been. */
  #head = NO_CHAIN;
  #taken = 0;

  /** @param chardev undefined for output that goes nowhere */
  constructor(queue: BackEndQueue, chardev: Chardev | undefined) {
    this.#queue = queue;
    this.#chardev = chardev;
    chardev?.writeFrom(() => this.pump());
  }

  /** Takes what the driver has queued. */
  pump(): void {
    const queue = this.#queue;
    const { ring } = queue;
    if (ring === undefined) return;
    let allowance = PASS_BYTES;
    for (let chains = 0; chains < ring.size; chains++) {
      if (this.#head === NO_CHAIN) {
        this.#head = queue.take();
        this.#taken = 0;
      }
      if (this.#head === NO_CHAIN) {
        queue.publish();
        this.#chardev?.pump();
        if (!queue.enableNotifications()) return;
        continue;
      }
      const before = this.#taken;
      const result = this.#take(allowance);
      allowance -= this.#taken - before;
      if (result === "done") {
        ring.complete(this.#head, 0);
        this.#head = NO_CHAIN;
        continue;
      }
      queue.publish();
      this.#chardev?.pump();
      if (result === "again") signalEventFd(queue.doorbell);
      return;
    }
    queue.publish();
    this.#chardev?.pump();
    signalEventFd(queue.doorbell);
  }

  /** Gives the chain that is being taken back. What is left of it is lost. */
  drop(): void {
    const head = this.#head;
    this.#head = NO_CHAIN;
    if (head === NO_CHAIN) return;
    this.#queue.ring?.complete(head, 0);
    this.#queue.publish();
  }

  /**
   * Takes what is left of the chain.
   * @returns "blocked" until the host's end says that it can go on; "again" when the other devices come first
   */
  #take(allowance: number): "done" | "blocked" | "again" {
    const chain = this.#queue.ring?.chain;
    const chardev = this.#chardev;
    if (chain === undefined || chardev === undefined) return "done";
    const table = this.#iovecs.u32;
    let left = allowance;
    for (;;) {
      const count = chain.readableIovecs(table, this.#taken, Math.max(1, left));
      if (count === 0) return "done";
      if (left <= 0) return "again";
      for (let i = 0; i < count; i++) {
        const at = i * IOVEC_WORDS;
        const hva = (table[at] ?? 0) + (table[at + 1] ?? 0) * 0x1_0000_0000;
        const length = table[at + 2] ?? 0;
        const taken = chardev.take(hva, length);
        this.#taken += taken;
        left -= taken;
        if (taken < length) return "blocked";
      }
    }
  }
}
