import { monotonicNs } from "../../../host/clock.ts";
import { EpollEvent } from "../../../host/epoll.ts";
import { libc } from "../../../host/libc.ts";
import { createTimerFd, setTimerFd } from "../../../host/timerfd.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { announceMac } from "../../../net/open-carrier.ts";
import { blockAt } from "../../../threads/block-ref.ts";
import { ThreadControl } from "../../../threads/control.ts";
import type { IoClient, IoLoop, Watch } from "../../io-loop.ts";
import { BackEnd, type BackEndQueue } from "../transport/back-end.ts";
import { ControlQueue } from "./control-queue.ts";
import { controlQueue, NetState, type NetWiring, netDevice, receiveQueue } from "./device.ts";
import { NetFeature } from "./protocol.ts";

/** From one request to announce itself to the next. */
const ANNOUNCE_PERIOD_NS = 200_000_000;

/**
 * What a network device does beside carrying frames: it answers control commands, and after a move to another host sees to
 * it that the network learns where the guest is now (VIRTIO 1.3, 5.1.6.5.4).
 */
export class NetControl implements IoClient {
  readonly #wiring: NetWiring;
  readonly #backEnd: BackEnd;
  readonly #queue: BackEndQueue;
  readonly #control: ControlQueue;
  readonly #pairThreads: readonly ThreadControl[];
  readonly #timerFd = createTimerFd();
  readonly #timer: Watch;
  #announcing = false;

  /** @throws SysError, RangeError when the wiring is not a network device's */
  constructor(loop: IoLoop, wiring: NetWiring, memory: GuestMemory) {
    const { settings, transport } = wiring;
    const backEnd = new BackEnd(netDevice(settings), transport, memory);
    const queue = backEnd.queues[controlQueue(settings.pairs)];
    if (queue === undefined) throw new RangeError(`${transport.id} has no control queue`);
    this.#wiring = wiring;
    this.#backEnd = backEnd;
    this.#queue = queue;
    this.#pairThreads = Array.from({ length: settings.pairs }, (_, pair) => {
      const control = transport.queues[receiveQueue(pair)]?.control;
      return control === undefined ? [] : new ThreadControl(blockAt(control));
    }).flat();
    this.#control = new ControlQueue(backEnd, queue, wiring, () => {
      for (const thread of this.#pairThreads) thread.wake();
    });
    loop
      .watch(queue.doorbell, () => {
        queue.drainDoorbell();
        this.#control.pump();
      })
      .set(EpollEvent.IN);
    this.#timer = loop.watch(this.#timerFd, () => this.#announce());
  }

  wake(): void {
    if (this.#queue.update() === "recalled") {
      this.#stopAnnouncing();
      this.#queue.release();
    }
    if (!this.#announcing) this.#announce();
    this.#control.pump();
  }

  pause(): void {
    this.#stopAnnouncing();
  }

  close(): void {
    libc.close(this.#timerFd);
  }

  /** One round of announcements, when there are any left, and the timer for the next. */
  #announce(): void {
    const { words } = this.#backEnd;
    const left = Atomics.load(words, NetState.ANNOUNCEMENTS);
    if (this.#queue.ring === undefined || left <= 1) {
      this.#stopAnnouncing();
      return;
    }
    this.#announcing = true;
    // The driver's acknowledgement comes through this thread, too: nobody else changes the word while the queue is ours.
    Atomics.store(words, NetState.ANNOUNCEMENTS, left - 1);
    if (this.#backEnd.hasFeature(NetFeature.GUEST_ANNOUNCE)) this.#backEnd.configChanged();
    if (this.#backEnd.hasFeature(NetFeature.MAC)) announceMac(this.#wiring.carrier, this.#wiring.settings.mac);
    setTimerFd(this.#timerFd, monotonicNs() + ANNOUNCE_PERIOD_NS);
    this.#timer.set(EpollEvent.IN);
  }

  #stopAnnouncing(): void {
    this.#timer.set(0);
    this.#announcing = false;
  }
}
