import type { GuestMemory } from "../../../memory/guest-memory.ts";
import type { RamRelease } from "../../../memory/ram-release.ts";
import { logger } from "../../../threads/log.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import type { NoticeListener } from "../../notices.ts";
import type { DescriptorChain } from "../queue/descriptor-chain.ts";
import { BackEnd, type BackEndQueue } from "../transport/back-end.ts";
import { ChainServer } from "../transport/chain-server.ts";
import { BALLOON_PAGE, type BalloonQueue, type BalloonWiring, balloonDevice, balloonQueues } from "./device.ts";
import { eachRun, type PageRun } from "./page-runs.ts";
import { PartialPages } from "./partial-pages.ts";
import { StatisticsQueue } from "./statistics-queue.ts";

const log = logger("balloon");

/** Bytes of a page number in the driver's lists. */
const NUMBER_BYTES = 4;
/** Drivers give lists of 1 KiB (Linux) or 4 KiB (Windows). */
const MAX_LIST_BYTES = 4096;
/** A chain can name many pages: the other devices of the thread come soon. */
const BURST = 2;

/**
 * Takes memory that the guest gives: what it puts into the balloon, and what it reports as free. The guest takes memory back
 * by using it.
 */
export class BalloonBackEnd implements IoClient {
  readonly #memory: GuestMemory;
  readonly #ram: RamRelease;
  readonly #queues: readonly IoClient[];
  /** Where pages of the host are larger than the balloon's. */
  readonly #partial: PartialPages | undefined;
  readonly #numbers = new Uint32Array(MAX_LIST_BYTES / NUMBER_BYTES);
  readonly #inflate: PageRun;
  readonly #deflate: PageRun;

  /**
   * @param memory where the driver's lists lie
   * @param ram what it may give
   * @throws SysError, RangeError when the wiring is not a balloon's
   */
  constructor(loop: IoLoop, wiring: BalloonWiring, memory: GuestMemory, ram: RamRelease, notify: NoticeListener) {
    this.#memory = memory;
    this.#ram = ram;
    const partial = ram.largestPage > BALLOON_PAGE ? new PartialPages(ram) : undefined;
    this.#partial = partial;
    this.#inflate =
      partial === undefined
        ? (first, count) => ram.release(first * BALLOON_PAGE, count * BALLOON_PAGE)
        : (first, count) => {
            for (let page = first; page < first + count; page++) partial.add(page * BALLOON_PAGE);
          };
    this.#deflate = (first, count) => {
      if (partial === undefined) return;
      for (let page = first; page < first + count; page++) partial.remove(page * BALLOON_PAGE);
    };
    const backEnd = new BackEnd(balloonDevice(wiring.settings), wiring.transport, memory);
    this.#queues = balloonQueues(wiring.settings).map((kind, i) => {
      const queue = backEnd.queues[i];
      if (queue === undefined) throw new RangeError(`a balloon has a queue for ${kind}`);
      return kind === "statistics" ? new StatisticsQueue(loop, backEnd, queue, notify) : this.#serve(kind, loop, queue);
    });
  }

  wake(): void {
    for (const queue of this.#queues) queue.wake();
  }

  pause(): void {
    for (const queue of this.#queues) queue.pause();
  }

  #serve(kind: Exclude<BalloonQueue, "statistics">, loop: IoLoop, queue: BackEndQueue): IoClient {
    switch (kind) {
      case "inflate": {
        const handle = (chain: DescriptorChain): number => this.#eachPage(chain, this.#inflate);
        // A driver that resets the device has taken all back.
        return new ChainServer(loop, queue, { handle, changed: () => this.#partial?.clear() }, BURST);
      }
      case "deflate": {
        const handle = (chain: DescriptorChain): number => this.#eachPage(chain, this.#deflate);
        return new ChainServer(loop, queue, { handle }, BURST);
      }
      case "reporting": {
        const handle = (chain: DescriptorChain): number => this.#reported(chain);
        return new ChainServer(loop, queue, { handle }, BURST);
      }
    }
  }

  /** Each buffer is a list of page numbers, and is judged on its own. */
  #eachPage({ gpas, lengths, readableCount }: DescriptorChain, take: PageRun): number {
    for (let i = 0; i < readableCount; i++) {
      const length = lengths[i] ?? 0;
      if (length % NUMBER_BYTES !== 0 || length > MAX_LIST_BYTES) {
        log.debug(`a list of ${length} bytes is no list of pages`);
        continue;
      }
      eachRun(this.#read(gpas[i] ?? 0, length), take);
    }
    return 0;
  }

  #read(gpa: number, length: number): Uint32Array {
    const { start, view } = this.#memory.window(gpa, length);
    const numbers = this.#numbers.subarray(0, length / NUMBER_BYTES);
    for (let i = 0; i < numbers.length; i++) numbers[i] = view.getUint32(gpa - start + i * NUMBER_BYTES, true);
    return numbers;
  }

  /** The buffers are the free memory itself, which the device may write to. */
  #reported({ gpas, lengths, readableCount, count, writableBytes }: DescriptorChain): number {
    for (let i = readableCount; i < count; i++) this.#ram.release(gpas[i] ?? 0, lengths[i] ?? 0);
    return Math.min(writableBytes, 0xffff_ffff);
  }
}
