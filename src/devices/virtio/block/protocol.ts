import { struct, u8, u16, u32, u64 } from "../../../host/struct.ts";

/** Feature bits of a block device (VIRTIO 1.3, 5.2.3). */
export const BlockFeature = {
  SEG_MAX: 2,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  CONFIG_WCE: 11,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
} as const;

/** struct virtio_blk_config up to its discard and write-zeroes part (5.2.4). */
export const blockConfig = struct(
  "virtio_blk_config",
  {
    capacity: u64,
    size_max: u32,
    seg_max: u32,
    cylinders: u16,
    heads: u8,
    sectors: u8,
    blk_size: u32,
    physical_block_exp: u8,
    alignment_offset: u8,
    min_io_size: u16,
    opt_io_size: u32,
    writeback: u8,
    unused0: u8,
    num_queues: u16,
    max_discard_sectors: u32,
    max_discard_seg: u32,
    discard_sector_alignment: u32,
    max_write_zeroes_sectors: u32,
    max_write_zeroes_seg: u32,
    write_zeroes_may_unmap: u8,
    unused1: u8,
    unused2: u16,
  },
  "packed",
);

/** Types of request (5.2.6). */
export const BlockRequest = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;

/** How a request ended: its last device-writable byte (5.2.6). */
export const BlockStatus = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** Bytes of a request's header: type, reserved, sector. */
export const HEADER_BYTES = 16;
export const HEADER_SECTOR = 8;

/** Bytes of a request's status: all that is written for requests without data for the driver. */
export const STATUS_BYTES = 1;

/** Bytes of a segment to discard or zero, and its fields behind the sector (5.2.6). */
export const SEGMENT_BYTES = 16;
export const SEGMENT_SECTORS = 8;
export const SEGMENT_FLAGS = 12;
export const FLAG_UNMAP = 1;
