import { monotonicNs } from "../../../host/clock.ts";
import { EpollEvent } from "../../../host/epoll.ts";
import { drainEventFd } from "../../../host/eventfd.ts";
import { setTimerFd } from "../../../host/timerfd.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { logger } from "../../../threads/log.ts";
import type { IoClient, IoLoop, Watch } from "../../io-loop.ts";
import type { NoticeListener } from "../../notices.ts";
import type { DescriptorChain } from "../queue/descriptor-chain.ts";
import { BackEnd, type BackEndQueue } from "../transport/back-end.ts";
import { ChainServer } from "../transport/chain-server.ts";
import { WATCHDOG_ARMED, type WatchdogWiring, watchdogDevice } from "./device.ts";

const log = logger("watchdog");

/** What the driver finds in its buffer. */
const SEEN = 1;

/**
 * Resets the machine when a driver that has been heard of goes silent. Its first buffer arms it, for good: a driver that
 * resets the device cannot call it off. While the VM is paused, time stands still for it.
 */
export class WatchdogBackEnd implements IoClient {
  readonly #backEnd: BackEnd;
  readonly #queue: BackEndQueue;
  readonly #server: ChainServer;
  readonly #wiring: WatchdogWiring;
  readonly #notify: NoticeListener;
  readonly #timer: Watch;
  #running = false;
  /** When the driver was last heard of, and when to look next. */
  #heardNs = 0;
  #nextNs = 0;

  /** @throws SysError, RangeError when the wiring is not a watchdog's */
  constructor(loop: IoLoop, wiring: WatchdogWiring, memory: GuestMemory, notify: NoticeListener) {
    this.#backEnd = new BackEnd(watchdogDevice, wiring.transport, memory);
    const [queue] = this.#backEnd.queues;
    if (queue === undefined) throw new RangeError("a watchdog has a queue");
    this.#queue = queue;
    this.#wiring = wiring;
    this.#notify = notify;
    this.#timer = loop.watch(wiring.timerFd, () => this.#look());
    this.#server = new ChainServer(loop, queue, { handle: (chain) => this.#heard(chain) });
  }

  wake(): void {
    if (this.#backEnd.words[WATCHDOG_ARMED] !== 0) this.#run();
    this.#server.wake();
  }

  pause(): void {
    this.#running = false;
    this.#timer.set(0);
  }

  /** @returns the length of the driver's buffer, as drivers of this device expect it */
  #heard(chain: DescriptorChain): number {
    if (chain.count === 0 || chain.readableCount > 0) {
      this.#queue.fail("the driver's buffer cannot be written to");
      return 0;
    }
    chain.writeU8(0, SEEN);
    this.#heardNs = monotonicNs();
    this.#backEnd.words[WATCHDOG_ARMED] = 1;
    this.#run();
    return chain.lengths[0] ?? 0;
  }

  /** Starts the timer of an armed watchdog, with as much time before it as if the driver had just been heard of. */
  #run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#heardNs = monotonicNs();
    this.#nextNs = this.#heardNs;
    this.#setTimer();
    this.#timer.set(EpollEvent.IN);
  }

  #setTimer(): void {
    const { timerFd, periodNs } = this.#wiring;
    this.#nextNs += periodNs;
    setTimerFd(timerFd, this.#nextNs);
  }

  #look(): void {
    const { timerFd, patienceNs, transport } = this.#wiring;
    if (!drainEventFd(timerFd)) return;
    if (monotonicNs() - this.#heardNs >= patienceNs) {
      log.warn(`${transport.id}: the guest has gone silent, it is reset`);
      this.#timer.set(0);
      this.#notify({ kind: "reset", id: transport.id });
    } else this.#setTimer();
  }
}
