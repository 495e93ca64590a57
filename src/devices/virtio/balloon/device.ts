import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";
import { STATISTICS } from "./statistics.ts";

/** Feature bits (VIRTIO 1.3, 5.5.3). */
export const BalloonFeature = { STATS_VQ: 1, DEFLATE_ON_OOM: 2, REPORTING: 5 } as const;

const QUEUE_SIZE = 128;
const STATISTICS_QUEUE_SIZE = 128;
const REPORTING_QUEUE_SIZE = 32;

/** The balloon counts in pages of this size, whatever those of guest and host (5.5.6). */
export const BALLOON_PAGE = 4096;

/** The words of struct virtio_balloon_config (5.5.4): what the host wants, and what the guest has given. */
export const NUM_PAGES_WORD = 0;
export const ACTUAL_WORD = 1;
const CONFIG_BYTES = 8;

/** The state's one word: how far the guest is with new statistics, once somebody wants some. */
export const STATISTICS_WORD = 0;
export const StatisticsWish = { NONE: 0, WANTED: 1, ASKED_FOR: 2 } as const;

/** What the user chose. */
export interface BalloonSettings {
  /** Pages that the guest is to give at first. */
  readonly pages: number;
  readonly deflateOnOom: boolean;
  readonly freePageReporting: boolean;
  readonly statistics: boolean;
}

/** A balloon as plain data. */
export interface BalloonWiring {
  readonly transport: VirtioPciWiring;
  readonly settings: BalloonSettings;
}

/** What a queue of the balloon is for. */
export type BalloonQueue = "inflate" | "deflate" | "statistics" | "reporting";

/** The queues in order: drivers number those that there are, and leave no gaps for those that there are not. */
export function balloonQueues({ statistics, freePageReporting }: BalloonSettings): readonly BalloonQueue[] {
  return [
    "inflate",
    "deflate",
    ...(statistics ? (["statistics"] as const) : []),
    ...(freePageReporting ? (["reporting"] as const) : []),
  ];
}

/** The number of the statistics queue of a balloon that has one. */
export const STATISTICS_QUEUE = 2;

const QUEUE_SIZES: Readonly<Record<BalloonQueue, number>> = {
  inflate: QUEUE_SIZE,
  deflate: QUEUE_SIZE,
  statistics: STATISTICS_QUEUE_SIZE,
  reporting: REPORTING_QUEUE_SIZE,
};

/** The memory balloon (5.5). The guest may write what it has given, and nothing else of the configuration. */
export function balloonDevice(settings: BalloonSettings): VirtioDevice {
  const { pages, deflateOnOom, freePageReporting, statistics } = settings;
  const config = new Uint8Array(CONFIG_BYTES);
  new DataView(config.buffer).setUint32(4 * NUM_PAGES_WORD, pages, true);
  return {
    type: VirtioType.BALLOON,
    queueSizes: balloonQueues(settings).map((queue) => QUEUE_SIZES[queue]),
    minQueues: 2,
    features: [
      ...(statistics ? [BalloonFeature.STATS_VQ] : []),
      ...(deflateOnOom ? [BalloonFeature.DEFLATE_ON_OOM] : []),
      ...(freePageReporting ? [BalloonFeature.REPORTING] : []),
    ],
    config,
    stateWords: 1,
    ...(statistics ? { counters: STATISTICS } : {}),
    writeConfig(live, offset, size, value) {
      if (offset !== 4 * ACTUAL_WORD || size !== 4) return;
      new DataView(live.buffer, live.byteOffset).setUint32(offset, value, true);
    },
  };
}
