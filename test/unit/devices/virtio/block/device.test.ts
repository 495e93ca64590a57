import { describe, expect, test } from "bun:test";
import { blockDevice } from "../../../../../src/devices/virtio/block/device.ts";
import { BlockFeature, blockConfig } from "../../../../../src/devices/virtio/block/protocol.ts";
import { VirtioFeature } from "../../../../../src/devices/virtio/transport/features.ts";
import { mapAnonymous } from "../../../../../src/host/mmap.ts";
import { image, settings } from "./harness.ts";

const fields = (config: Uint8Array) => {
  const block = mapAnonymous(blockConfig.size);
  block.u8.set(config);
  return blockConfig.at(block);
};

describe("configuration space", () => {
  test("is laid out as the standard says", () => {
    expect(blockConfig.size).toBe(60);
    expect(blockConfig.offsets).toMatchObject({
      seg_max: 12,
      blk_size: 20,
      writeback: 32,
      num_queues: 34,
      max_discard_sectors: 36,
      max_write_zeroes_sectors: 48,
      write_zeroes_may_unmap: 56,
    });
  });

  test("of a plain image", () => {
    const device = blockDevice(settings(image(4096 * 2 ** 21), { queueSize: 256 }));
    expect(device.queueSizes).toEqual([256]);
    expect(fields(device.config)).toMatchObject({
      capacity: 4096 * 2 ** 21,
      size_max: 0,
      seg_max: 254,
      blk_size: 512,
      physical_block_exp: 0,
      min_io_size: 1,
      opt_io_size: 0,
      writeback: 1,
      num_queues: 0,
      max_discard_sectors: 0xffff_ffff,
      max_discard_seg: 1,
      discard_sector_alignment: 1,
      max_write_zeroes_sectors: 0xffff_ffff,
      max_write_zeroes_seg: 1,
      write_zeroes_may_unmap: 1,
    });
  });

  test("topology is told in logical blocks", () => {
    const topology = { logicalBlock: 4096, physicalBlock: 16384, minimumIo: 65536, optimalIo: 1 << 20 };
    expect(fields(blockDevice(settings(image(64, { topology }))).config)).toMatchObject({
      capacity: 64,
      blk_size: 4096,
      physical_block_exp: 2,
      min_io_size: 16,
      opt_io_size: 256,
      discard_sector_alignment: 8,
    });
    const odd = { logicalBlock: 512, physicalBlock: 3000, minimumIo: 2 ** 30, optimalIo: 0 };
    expect(fields(blockDevice(settings(image(64, { topology: odd }))).config)).toMatchObject({
      physical_block_exp: 3,
      min_io_size: 0xffff,
    });
  });

  test("only the write cache can be written, a byte of it", () => {
    const device = blockDevice(settings(image(64)));
    const config = device.config.slice();
    const write = (offset: number, size: number, value: number) => device.writeConfig?.(config, offset, size, value);
    for (let offset = 0; offset < config.length; offset++)
      for (const size of [1, 2, 4, 8]) if (offset !== 32 || size !== 1) write(offset, size, 0x5a5a);
    expect([...config]).toEqual([...device.config]);
    write(32, 1, 0);
    expect(fields(config).writeback).toBe(0);
    write(32, 1, 0xff);
    expect([...config]).toEqual([...device.config]);
  });
});

describe("features", () => {
  const { SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, RO, MQ, DISCARD, WRITE_ZEROES } = BlockFeature;
  const always: readonly number[] = [
    SEG_MAX,
    BLK_SIZE,
    FLUSH,
    TOPOLOGY,
    CONFIG_WCE,
    VirtioFeature.INDIRECT_DESC,
    VirtioFeature.EVENT_IDX,
  ];
  const offered = (...more: number[]): number[] => [...always, ...more].sort((a, b) => a - b);
  const of = (...args: Parameters<typeof settings>): number[] =>
    [...blockDevice(settings(...args)).features].sort((a, b) => a - b);

  test("follow the image and the options", () => {
    expect(of(image(64))).toEqual(offered(DISCARD, WRITE_ZEROES));
    expect(of(image(64), { sparse: false })).toEqual(offered(WRITE_ZEROES));
    expect(of(image(64, { canBeSparse: false }))).toEqual(offered());
    expect(of(image(64, { canBeSparse: false, readonly: true }))).toEqual(offered(RO));
    expect(of(image(64, { canBeSparse: false }), { queues: 4 })).toEqual(offered(MQ));
  });

  test("what is not offered has no limits, and queues are counted when there are several", () => {
    const thick = fields(blockDevice(settings(image(64), { sparse: false, queues: 3 })).config);
    expect([thick.max_discard_sectors, thick.max_discard_seg, thick.write_zeroes_may_unmap]).toEqual([0, 0, 0]);
    expect([thick.max_write_zeroes_seg, thick.num_queues]).toEqual([1, 3]);
    const plain = fields(blockDevice(settings(image(64, { canBeSparse: false }))).config);
    expect([plain.max_write_zeroes_sectors, plain.max_write_zeroes_seg]).toEqual([0, 0]);
  });
});
