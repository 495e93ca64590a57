import { SysError } from "../../../host/errno.ts";
import { signalEventFd } from "../../../host/eventfd.ts";
import { type CarrierWiring, setOffloads } from "../../../net/open-carrier.ts";
import { logger } from "../../../threads/log.ts";
import type { DescriptorChain } from "../queue/descriptor-chain.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEnd, BackEndQueue } from "../transport/back-end.ts";
import { NetState, type NetWiring, OFFLOADS_SET } from "./device.ts";
import { commandedOffloads } from "./offloads.ts";
import {
  ANNOUNCE_ACK,
  CONTROL_HEADER_BYTES,
  ControlAck,
  ControlClass,
  GUEST_OFFLOADS_SET,
  LAST_RX_COMMAND,
  LAST_VLAN_COMMAND,
  MQ_VQ_PAIRS_SET,
  NetFeature,
} from "./protocol.ts";

const log = logger("virtio-net");

/** Length of a used element for an answered command, and for a chain that is none. */
const ACK_BYTES = 1;
const NO_COMMAND = 0;
/** Commands in a row, before the other devices of the thread get their turn. */
const MAX_COMMANDS = 16;

/** Serves the control queue of a network device (VIRTIO 1.3, 5.1.6.5), whichever thread has it. */
export class ControlQueue {
  readonly #backEnd: BackEnd;
  readonly #queue: BackEndQueue;
  readonly #carrier: CarrierWiring;
  readonly #pairs: number;
  readonly #pairsChanged: () => void;

  /** @param pairsChanged called when the driver uses another number of pairs */
  constructor(backEnd: BackEnd, queue: BackEndQueue, { carrier, settings }: NetWiring, pairsChanged: () => void) {
    this.#backEnd = backEnd;
    this.#queue = queue;
    this.#carrier = carrier;
    this.#pairs = settings.pairs;
    this.#pairsChanged = pairsChanged;
  }

  /** Answers the commands that there are, a few at most: the doorbell rings by itself then. */
  pump(): void {
    const queue = this.#queue;
    const { ring } = queue;
    if (ring === undefined || !this.#backEnd.hasFeature(NetFeature.CTRL_VQ)) return;
    for (let commands = 0; commands < MAX_COMMANDS; commands++) {
      const head = queue.take();
      if (head !== NO_CHAIN) ring.complete(head, this.#answer(ring.chain));
      queue.publish();
      if (head === NO_CHAIN && !queue.enableNotifications()) return;
    }
    signalEventFd(queue.doorbell);
  }

  /** @returns the length of the used element */
  #answer(chain: DescriptorChain): number {
    if (chain.readableBytes < CONTROL_HEADER_BYTES || chain.writableBytes < ACK_BYTES) return NO_COMMAND;
    chain.writeU8(0, this.#carryOut(chain) ? ControlAck.OK : ControlAck.ERR);
    return ACK_BYTES;
  }

  /** @returns whether the command was carried out */
  #carryOut(chain: DescriptorChain): boolean {
    const command = chain.readU8(1);
    switch (chain.readU8(0)) {
      case ControlClass.MQ:
        return command === MQ_VQ_PAIRS_SET && this.#setPairs(chain);
      case ControlClass.GUEST_OFFLOADS:
        return command === GUEST_OFFLOADS_SET && this.#setOffloads(chain);
      case ControlClass.ANNOUNCE:
        if (command !== ANNOUNCE_ACK) return false;
        Atomics.store(this.#backEnd.words, NetState.ANNOUNCEMENTS, 0);
        return true;
      // The driver may set filters, of which the device has none.
      case ControlClass.RX:
        return command <= LAST_RX_COMMAND;
      case ControlClass.VLAN:
        return command <= LAST_VLAN_COMMAND;
      default:
        return false;
    }
  }

  #setPairs(chain: DescriptorChain): boolean {
    if (chain.readableBytes < CONTROL_HEADER_BYTES + 2) return false;
    const pairs = chain.readU8(CONTROL_HEADER_BYTES) + chain.readU8(CONTROL_HEADER_BYTES + 1) * 256;
    if (pairs === 0 || pairs > this.#pairs || !this.#backEnd.hasFeature(NetFeature.MQ)) return false;
    Atomics.store(this.#backEnd.words, NetState.PAIRS, pairs);
    this.#pairsChanged();
    return true;
  }

  #setOffloads(chain: DescriptorChain): boolean {
    if (chain.readableBytes < CONTROL_HEADER_BYTES + 8) return false;
    const offloads = this.#backEnd.hasFeature(NetFeature.CTRL_GUEST_OFFLOADS)
      ? commandedOffloads(chain.readU32(CONTROL_HEADER_BYTES), chain.readU32(CONTROL_HEADER_BYTES + 4), (bit) =>
          this.#backEnd.hasFeature(bit),
        )
      : undefined;
    if (offloads === undefined) return false;
    const before = Atomics.exchange(this.#backEnd.words, NetState.OFFLOADS, OFFLOADS_SET | offloads);
    try {
      setOffloads(this.#carrier, offloads);
      return true;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      log.debug(() => `${this.#backEnd.id}: ${error.message}`);
      Atomics.store(this.#backEnd.words, NetState.OFFLOADS, before);
      return false;
    }
  }
}
