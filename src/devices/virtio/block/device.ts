import type { OpenedImage } from "../../../block/disk-image.ts";
import type { IoEngineKind } from "../../../block/load-engine.ts";
import { SECTOR_BYTES } from "../../../block/topology.ts";
import { scratch } from "../../../host/scratch.ts";
import type { RateGateWiring } from "../../rate-limit/rate-gate.ts";
import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import { VirtioFeature } from "../transport/features.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";
import { BLOCK_COUNTERS } from "./counters.ts";
import { BlockFeature, blockConfig } from "./protocol.ts";

/** A block device but for its place in the machine, as plain data. */
export interface BlockSettings {
  readonly image: OpenedImage;
  /** What may move its bytes, from best to plainest: the first that the kernel has is used. */
  readonly engines: readonly IoEngineKind[];
  readonly queues: number;
  /** Descriptors of each queue: a power of two above 2. */
  readonly queueSize: number;
  /** Whether the guest may give space back. */
  readonly sparse: boolean;
  /** At most 20 bytes. */
  readonly serial: Uint8Array;
  /** Refuse writes that start at sector 0 (`DiskImage.protectFirstSector`). */
  readonly protectFirstSector: boolean;
  /** What the requests of each queue have to pass; undefined without limits. */
  readonly gates: readonly RateGateWiring[] | undefined;
}

/** A block device as plain data. */
export interface BlockWiring {
  readonly transport: VirtioPciWiring;
  readonly settings: BlockSettings;
}

const UNLIMITED = 0xffff_ffff;
const MAX_U16 = 0xffff;

/** What the transport has to know of a block device (VIRTIO 1.3, 5.2). */
export function blockDevice(settings: BlockSettings): VirtioDevice {
  const { image, queues, queueSize } = settings;
  const features: number[] = [
    BlockFeature.SEG_MAX,
    BlockFeature.BLK_SIZE,
    BlockFeature.FLUSH,
    BlockFeature.TOPOLOGY,
    BlockFeature.CONFIG_WCE,
    VirtioFeature.INDIRECT_DESC,
    VirtioFeature.EVENT_IDX,
  ];
  if (image.readonly) features.push(BlockFeature.RO);
  if (queues > 1) features.push(BlockFeature.MQ);
  if (canDiscard(settings)) features.push(BlockFeature.DISCARD);
  if (image.canBeSparse) features.push(BlockFeature.WRITE_ZEROES);
  return {
    type: VirtioType.BLOCK,
    queueSizes: new Array<number>(queues).fill(queueSize),
    minQueues: 1,
    features,
    config: initialConfig(settings),
    counters: BLOCK_COUNTERS,
    writeConfig(config, offset, size, value) {
      if (offset === blockConfig.offsets.writeback && size === 1) config[offset] = value & 1;
    },
  };
}

/** Whether DISCARD is offered. */
export const canDiscard = ({ image, sparse }: BlockSettings): boolean => image.canBeSparse && sparse;

function initialConfig(settings: BlockSettings): Uint8Array {
  const { image, queues, queueSize } = settings;
  const { logicalBlock, physicalBlock, minimumIo, optimalIo } = image.topology;
  const block = scratch();
  block.u8.fill(0, 0, blockConfig.size);
  const config = blockConfig.at(block);
  config.capacity = image.size / SECTOR_BYTES;
  config.seg_max = queueSize - 2;
  config.blk_size = logicalBlock;
  config.physical_block_exp = Math.max(0, Math.ceil(Math.log2(physicalBlock / logicalBlock)));
  config.min_io_size = Math.min(Math.floor(minimumIo / logicalBlock), MAX_U16);
  config.opt_io_size = Math.floor(optimalIo / logicalBlock);
  config.writeback = 1;
  if (queues > 1) config.num_queues = queues;
  if (canDiscard(settings)) {
    config.max_discard_sectors = UNLIMITED;
    config.max_discard_seg = 1;
    config.discard_sector_alignment = logicalBlock / SECTOR_BYTES;
    config.write_zeroes_may_unmap = 1;
  }
  if (image.canBeSparse) {
    config.max_write_zeroes_sectors = UNLIMITED;
    config.max_write_zeroes_seg = 1;
  }
  return block.u8.slice(0, blockConfig.size);
}
