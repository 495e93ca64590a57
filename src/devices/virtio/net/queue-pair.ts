import { EpollEvent } from "../../../host/epoll.ts";
import { SysError } from "../../../host/errno.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import type { FrameCarrier } from "../../../net/frame-carrier.ts";
import type { IoClient, IoLoop, Watch } from "../../io-loop.ts";
import type { BackEnd, BackEndQueue } from "../transport/back-end.ts";
import type { ControlQueue } from "./control-queue.ts";
import { NetState } from "./device.ts";
import { offloadsInForce } from "./offloads.ts";
import { NetFeature } from "./protocol.ts";
import type { PairGates } from "./rate-limit.ts";
import { Receiver } from "./receiver.ts";
import { Transmitter } from "./transmitter.ts";

/** What serves the queues of one pair, on a thread of its own. */
export class QueuePair implements IoClient {
  readonly #backEnd: BackEnd;
  readonly #pair: number;
  readonly #receive: BackEndQueue;
  readonly #transmit: BackEndQueue;
  readonly #carrier: FrameCarrier;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  /** What serves the receive queue where it is none: without MQ, the control queue has the number of the second pair's. */
  readonly #control: ControlQueue | undefined;
  readonly #watch: Watch;
  #awaitsFrames = false;
  #awaitsRoom = false;

  constructor(
    loop: IoLoop,
    backEnd: BackEnd,
    pair: number,
    receive: BackEndQueue,
    transmit: BackEndQueue,
    carrier: FrameCarrier,
    memory: GuestMemory,
    control: ControlQueue | undefined,
    gates: PairGates | undefined,
  ) {
    this.#backEnd = backEnd;
    this.#pair = pair;
    this.#receive = receive;
    this.#transmit = transmit;
    this.#carrier = carrier;
    this.#control = control;
    this.#receiver = new Receiver(receive, carrier, memory, gates?.receive);
    this.#transmitter = new Transmitter(transmit, carrier, gates?.transmit);
    this.#watch = loop.watch(carrier.fd, (events) => {
      if ((events & ~EpollEvent.OUT) !== 0) this.#pumpReceive();
      if ((events & ~EpollEvent.IN) !== 0) this.#pumpTransmit();
      this.#wait();
    });
    const pumpReceive = (): void => {
      this.#pumpReceive();
      this.#wait();
    };
    const pumpTransmit = (): void => {
      this.#pumpTransmit();
      this.#wait();
    };
    // Each signal of a doorbell or a timer counts once: nobody has to read it.
    const signal = EpollEvent.IN | EpollEvent.ET;
    loop.watch(receive.doorbell, pumpReceive).set(signal);
    loop.watch(transmit.doorbell, pumpTransmit).set(signal);
    if (gates?.receive !== undefined) loop.watch(gates.receive.timerFd, pumpReceive).set(signal);
    if (gates?.transmit !== undefined) loop.watch(gates.transmit.timerFd, pumpTransmit).set(signal);
  }

  wake(): void {
    this.#follow(this.#receive);
    this.#follow(this.#transmit);
    this.#pumpReceive();
    this.#pumpTransmit();
    this.#wait();
  }

  /** Nothing is under way between two calls. */
  pause(): void {
    this.#awaitsFrames = false;
    this.#awaitsRoom = false;
    this.#wait();
  }

  close(): void {
    this.#receiver.close();
    this.#transmitter.close();
  }

  /** Whether the driver uses this pair: the first one always, the others when it says so (VIRTIO 1.3, 5.1.6.5.5). */
  get #isInUse(): boolean {
    if (this.#pair === 0) return true;
    return this.#backEnd.hasFeature(NetFeature.MQ) && this.#pair < Atomics.load(this.#backEnd.words, NetState.PAIRS);
  }

  /** Starts and ends with the driver. */
  #follow(queue: BackEndQueue): void {
    const change = queue.update();
    if (queue.ring === undefined && change === "none") return;
    try {
      if (change === "recalled") {
        if (queue === this.#receive) this.#carrier.driverLeft();
        return;
      }
      this.#carrier.setActive(this.#isInUse);
      if (change === "started") this.#applyOffloads();
    } catch (error) {
      failWith(queue, error);
    } finally {
      if (change === "recalled") queue.release();
    }
  }

  /** The thread of the control queue may set them meanwhile: whoever comes last sets what is in force. */
  #applyOffloads(): void {
    const hasFeature = (bit: number): boolean => this.#backEnd.hasFeature(bit);
    const inForce = (): number => offloadsInForce(this.#backEnd.words, hasFeature);
    for (let offloads = inForce(), before = -1; offloads !== before; offloads = inForce()) {
      this.#carrier.setOffloads(offloads);
      before = offloads;
    }
  }

  #pumpReceive(): void {
    this.#awaitsFrames = false;
    if (!this.#isInUse) {
      if (!this.#backEnd.hasFeature(NetFeature.MQ)) this.#control?.pump();
      return;
    }
    try {
      this.#awaitsFrames = this.#receiver.pump() === "frames";
    } catch (error) {
      failWith(this.#receive, error);
    }
  }

  #pumpTransmit(): void {
    this.#awaitsRoom = false;
    try {
      this.#awaitsRoom = this.#transmitter.pump();
    } catch (error) {
      failWith(this.#transmit, error);
    }
  }

  #wait(): void {
    if (this.#carrier.ended) this.#watch.set(0);
    else this.#watch.set((this.#awaitsFrames ? EpollEvent.IN : 0) | (this.#awaitsRoom ? EpollEvent.OUT : 0));
  }
}

/** A carrier that is broken costs the driver the queue, not the VM its thread. */
function failWith(queue: BackEndQueue, error: unknown): void {
  if (!(error instanceof SysError)) throw error;
  queue.fail(error);
}
