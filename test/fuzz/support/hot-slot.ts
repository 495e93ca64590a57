import { Departure } from "../../../src/devices/departure.ts";
import type { IoClient } from "../../../src/devices/io-loop.ts";
import { RateGate } from "../../../src/devices/rate-limit/rate-gate.ts";
import { RateLimiter } from "../../../src/devices/rate-limit/rate-limiter.ts";
import { RngBackEnd } from "../../../src/devices/virtio/rng/back-end.ts";
import { rngDevice } from "../../../src/devices/virtio/rng/device.ts";
import { QueueHandover } from "../../../src/devices/virtio/transport/handover.ts";
import { TransportBlock, vectorsOf } from "../../../src/devices/virtio/transport/state.ts";
import type { VirtioPciWiring } from "../../../src/devices/virtio/transport/wiring.ts";
import { createEventFd } from "../../../src/host/eventfd.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { createTimerFd } from "../../../src/host/timerfd.ts";
import type { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { type BlockRef, blockAt, refTo } from "../../../src/threads/block-ref.ts";
import { ThreadControl } from "../../../src/threads/control.ts";
import { M32 } from "../../unit/devices/virtio/transport-rig.ts";
import { FuzzLoop } from "./fuzz-loop.ts";

const BAR_STRIDE = 0x10_0000;
const FIRST_GSI = 24;

/** Who serves a device: the thread that is there from the start, or one of its own that came with it. */
export type Server = "shared" | "own";

/** What the host has for a device in a slot, over and over again. */
export class HotSlot {
  readonly slot: number;
  /** By who serves it, how the device is wired. */
  readonly wirings: Readonly<Record<Server, VirtioPciWiring>>;
  /** By who serves it, bytes that stand for the wiring. */
  readonly encoded: Readonly<Record<Server, BlockRef>>;
  /** The loop of its own thread. */
  readonly loop: FuzzLoop;
  readonly handover: QueueHandover;
  readonly departure: Departure;
  readonly #controls: Readonly<Record<Server, ThreadControl>>;
  readonly #block = mapAnonymous(TransportBlock.sizeOf(rngDevice));
  readonly #departure = mapAnonymous(Departure.size);
  readonly #limiter = mapAnonymous(RateLimiter.size);
  readonly #timerFd = createTimerFd();
  readonly #sourceFd: number;

  /** @param sharedControl of the thread that serves several devices @param sourceFd of entropy */
  constructor(slot: number, sharedControl: BlockRef, sourceFd: number) {
    this.slot = slot;
    this.#sourceFd = sourceFd;
    const ownControl = mapAnonymous(ThreadControl.size);
    const own = new ThreadControl(ownControl);
    own.open();
    this.#controls = { shared: new ThreadControl(blockAt(sharedControl)), own };
    this.loop = new FuzzLoop(own);
    const vectors = Array.from({ length: vectorsOf(1) }, (_, i) => ({
      gsi: FIRST_GSI + 4 * slot + i,
      eventFd: createEventFd(),
    }));
    const doorbell = createEventFd();
    const wiring = (control: BlockRef): VirtioPciWiring => ({
      id: `_rng${slot}`,
      block: refTo(this.#block),
      bar: { kind: "memory32", address: M32.base + BAR_STRIDE * slot },
      vectors,
      queues: [{ doorbell, control }],
    });
    this.wirings = { shared: wiring(sharedControl), own: wiring(refTo(ownControl)) };
    const encode = (server: number): BlockRef => {
      const bytes = mapAnonymous(8);
      bytes.u8.set([slot, server]);
      return refTo(bytes);
    };
    this.encoded = { shared: encode(0), own: encode(1) };
    this.departure = new Departure(refTo(this.#departure));
    this.handover = new QueueHandover(new TransportBlock(rngDevice, refTo(this.#block)));
  }

  get doorbell(): number {
    return this.wirings.own.queues[0]?.doorbell ?? -1;
  }

  control(server: Server): ThreadControl {
    return this.#controls[server];
  }

  /** Before a device comes: memory as it is given. */
  clear(): void {
    for (const { u8 } of [this.#block, this.#departure, this.#limiter]) u8.fill(0);
  }

  /** Makes what serves the device. @param isLimited whether a second request waits for ever */
  serve(
    server: Server,
    loop: ConstructorParameters<typeof RngBackEnd>[0],
    memory: GuestMemory,
    isLimited: boolean,
  ): IoClient {
    let gate: RateGate | undefined;
    if (isLimited) {
      const limiter = refTo(this.#limiter);
      new RateLimiter(limiter).fill({ bandwidth: undefined, ops: { size: 1, oneTimeBurst: 0, refillMs: 1e9 } });
      gate = new RateGate({ limiter, timerFd: this.#timerFd });
    }
    const wiring = { transport: this.wirings[server], sourceFd: this.#sourceFd, gate: undefined };
    return new RngBackEnd(loop, wiring, memory, gate);
  }
}
