import type { CarrierWiring } from "../../../net/open-carrier.ts";
import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import { VirtioFeature } from "../transport/features.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";
import type { PairGateWiring } from "./rate-limit.ts";

/** What a network device offers, as plain data. */
export interface NetSettings {
  /** The guest's MAC address, 6 bytes. */
  readonly mac: Uint8Array;
  /** Largest frame without its Ethernet header, where the guest is to know it. */
  readonly mtu: number | undefined;
  /** Pairs of a receive and a transmit queue. */
  readonly pairs: number;
  /** Descriptors of each queue. */
  readonly queueSize: number;
  /** What either side may leave to the other. `tso` and `ufo` need `csum`. */
  readonly offloads: { readonly csum: boolean; readonly tso: boolean; readonly ufo: boolean };
}

/** A network device as plain data. */
export interface NetWiring {
  readonly transport: VirtioPciWiring;
  readonly settings: NetSettings;
  readonly carrier: CarrierWiring;
  /** By pair: what its frames have to pass. */
  readonly gates: readonly PairGateWiring[];
}

/** The counters of a pair's queues: those of the one stay 0 on the other. */
export const NET_COUNTERS = ["rx_bytes", "rx_frames", "tx_bytes", "tx_frames"] as const;

/** Queue numbers (VIRTIO 1.3, 5.1.2). The control queue comes last. */
export const receiveQueue = (pair: number): number => 2 * pair;
export const transmitQueue = (pair: number): number => 2 * pair + 1;
export const controlQueue = (pairs: number): number => 2 * pairs;

/** Feature bits that this file needs; the others are in protocol.ts, which vCPU threads do not load. */
const CSUM = [0, 1, 2];
const TSO = [7, 8, 9, 11, 12, 13];
const UFO = [10, 14];
const MTU = 3;
const STATUS = 16;
const GUEST_ANNOUNCE = 21;
/** MAC, STATUS, CTRL_VQ, GUEST_ANNOUNCE, MQ. */
const ALWAYS = [5, STATUS, 17, GUEST_ANNOUNCE, 22, VirtioFeature.EVENT_IDX];

/** struct virtio_net_config: its length and fields. */
const CONFIG_BYTES = 17;
const CONFIG_STATUS = 6;
const CONFIG_PAIRS = 8;
const CONFIG_MTU = 10;
const LINK_UP = 1;
const ANNOUNCE = 2;

/** The words of the device's state. Zero after a reset by the driver, but for `LINK_DOWN`. */
export const NetState = {
  /** What the driver said that it finishes on its own: `TunOffload` flags and `OFFLOADS_SET`; 0 while it has not. */
  OFFLOADS: 0,
  /** The pairs that the driver uses; 0 counts as 1. */
  PAIRS: 1,
  /** Until the driver has announced itself: 1, and how often it will still be asked to; 0 afterwards. */
  ANNOUNCEMENTS: 2,
  /** 1 when what carries frames on the host is gone. */
  LINK_DOWN: 3,
} as const;
const STATE_WORDS = 4;
export const OFFLOADS_SET = 0x100;
/** How often a driver is asked after it has moved to another host. */
const ANNOUNCE_ROUNDS = 5;

/** What the transport has to know of a network device (VIRTIO 1.3, 5.1). */
export function netDevice({ mac, mtu, pairs, queueSize, offloads }: NetSettings): VirtioDevice {
  const config = new Uint8Array(CONFIG_BYTES);
  config.set(mac);
  config[CONFIG_PAIRS] = pairs;
  config[CONFIG_PAIRS + 1] = pairs >> 8;
  config[CONFIG_MTU] = mtu ?? 0;
  config[CONFIG_MTU + 1] = (mtu ?? 0) >> 8;
  return {
    type: VirtioType.NET,
    queueSizes: new Array<number>(controlQueue(pairs) + 1).fill(queueSize),
    minQueues: 2,
    features: [
      ...ALWAYS,
      ...(offloads.csum ? CSUM : []),
      ...(offloads.tso ? TSO : []),
      ...(offloads.ufo ? UFO : []),
      ...(mtu === undefined ? [] : [MTU]),
    ],
    config,
    counters: NET_COUNTERS,
    stateWords: STATE_WORDS,
    refreshConfig(bytes, hasFeature, state) {
      const announces = hasFeature(GUEST_ANNOUNCE) && Atomics.load(state, NetState.ANNOUNCEMENTS) !== 0;
      const link = Atomics.load(state, NetState.LINK_DOWN) === 0 ? LINK_UP : 0;
      bytes[CONFIG_STATUS] = hasFeature(STATUS) ? link | (announces ? ANNOUNCE : 0) : 0;
    },
    reset(state) {
      for (let word = 0; word < NetState.LINK_DOWN; word++) Atomics.store(state, word, 0);
    },
    restored(state) {
      Atomics.store(state, NetState.LINK_DOWN, 0);
      Atomics.store(state, NetState.ANNOUNCEMENTS, 1 + ANNOUNCE_ROUNDS);
    },
  };
}
