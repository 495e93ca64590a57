import type { Disk } from "../../../block/disk.ts";
import { type ThreadControl, ThreadRequest } from "../../../threads/control.ts";
import { IdlePoll } from "../queue/idle-poll.ts";
import type { BlockQueue } from "./block-queue.ts";

/** What the thread needs of a `BlockQueue`. */
export type ServedBlockQueue = Pick<
  BlockQueue,
  "enableNotifications" | "finish" | "hasChains" | "interrupt" | "putBack" | "release" | "start" | "underWay" | "update"
>;

/** Serves queues of a block device on a thread of their own, which sleeps only in their disks' `wait`. */
export class BlockThread {
  readonly #queues: readonly ServedBlockQueue[];
  readonly #disk: Pick<Disk, "wait">;
  readonly #control: ThreadControl;
  readonly #poll = new IdlePoll();

  /**
   * @param queues one or more
   * @param disk of one of them; the others' wait with it
   */
  constructor(queues: readonly ServedBlockQueue[], disk: Pick<Disk, "wait" | "watch">, control: ThreadControl) {
    this.#queues = queues;
    this.#disk = disk;
    this.#control = control;
    disk.watch(control.wakeFd);
  }

  /**
   * Serves the queues until the thread is asked to stop. No request is under way when this returns.
   * @throws SysError when the host cannot do I/O any more
   */
  run(): void {
    for (;;) {
      if (this.#control.request !== ThreadRequest.RUN && this.#rest() === ThreadRequest.STOP) return;
      const waited = this.#followDriver();
      if (this.#work() || waited) continue;
      this.#disk.wait(true);
      this.#poll.woke();
    }
  }

  /** Stops at a point where nothing is under way. @returns what the thread is asked for then */
  #rest(): number {
    for (const queue of this.#queues) queue.putBack();
    this.#drain(this.#queues);
    if (this.#control.request === ThreadRequest.STOP) return ThreadRequest.STOP;
    const request = this.#control.park();
    // What was signalled around a pause may have got lost with a snapshot.
    if (request !== ThreadRequest.STOP) for (const queue of this.#queues) queue.interrupt();
    return request;
  }

  /**
   * Starts and ends with the driver.
   * @returns whether it waited for requests, and so took signals for which nobody has looked yet
   */
  #followDriver(): boolean {
    let waited = false;
    for (const queue of this.#queues) {
      if (!queue.update()) continue;
      waited = true;
      queue.putBack();
      this.#drain([queue]);
      queue.release();
    }
    return waited;
  }

  /** Waits until these queues have no request under way, and shows their driver what has finished. Others may finish, too. */
  #drain(queues: readonly ServedBlockQueue[]): void {
    while (queues.some((queue) => queue.underWay > 0)) {
      this.#disk.wait(true);
      this.#finish();
    }
    for (const queue of queues) queue.finish();
  }

  /**
   * Takes new requests and hands them on, gives finished ones back.
   * @returns whether there may be more to do at once; otherwise the driver was asked to notify
   */
  #work(): boolean {
    const queues = this.#queues;
    let busy = false;
    for (let i = 0; i < queues.length; i++) if (queues[i]?.start() === true) busy = true;
    if (this.#isUnderWay()) this.#disk.wait(false);
    if (this.#finish()) busy = true;
    if (busy || (!this.#isUnderWay() && this.#poll.poll(this))) return true;
    for (let i = 0; i < queues.length; i++) if (queues[i]?.enableNotifications() === true) busy = true;
    return busy;
  }

  /** Gives back what has finished. @returns whether there was anything */
  #finish(): boolean {
    const queues = this.#queues;
    let any = false;
    for (let i = 0; i < queues.length; i++) if (queues[i]?.finish() === true) any = true;
    return any;
  }

  #isUnderWay(): boolean {
    const queues = this.#queues;
    for (let i = 0; i < queues.length; i++) if ((queues[i]?.underWay ?? 0) > 0) return true;
    return false;
  }

  /** Whether the driver has made requests available. */
  hasChains(): boolean {
    const queues = this.#queues;
    for (let i = 0; i < queues.length; i++) if (queues[i]?.hasChains() === true) return true;
    return false;
  }
}
