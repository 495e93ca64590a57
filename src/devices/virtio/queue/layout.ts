import { struct, u16, u32, u64 } from "../../../host/struct.ts";

/** struct virtq_desc (VIRTIO 1.3, 2.7.5). */
export const virtqDescriptor = struct("virtq_desc", { addr: u64, len: u32, flags: u16, next: u16 });

/** Descriptor flags (VIRTIO 1.3, 2.7.5). */
export const DescriptorFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;

/** flags of the available ring: the driver asks for no interrupts (2.7.6). */
export const AVAIL_NO_INTERRUPT = 1;
/** flags of the used ring: the device asks for no notifications (2.7.8). */
export const USED_NO_NOTIFY = 1;

/** The largest queue (2.7). */
export const MAX_QUEUE_SIZE = 32768;

/** Whether a queue can have this many descriptors (2.7). */
export const isQueueSize = (size: number): boolean =>
  Number.isInteger(size) && size > 0 && size <= MAX_QUEUE_SIZE && (size & (size - 1)) === 0;

/** Alignments of the three areas, in bytes (2.7). */
export const DESCRIPTOR_ALIGN = 16;
export const DRIVER_ALIGN = 2;
export const DEVICE_ALIGN = 4;

/** Bytes of the descriptor table. */
export const descriptorAreaBytes = (size: number): number => 16 * size;
/** Bytes of the available ring; its last field, used_event, exists with EVENT_IDX only. */
export const driverAreaBytes = (size: number, eventIdx: boolean): number => 4 + 2 * size + (eventIdx ? 2 : 0);
/** Bytes of the used ring; its last field, avail_event, exists with EVENT_IDX only. */
export const deviceAreaBytes = (size: number, eventIdx: boolean): number => 4 + 8 * size + (eventIdx ? 2 : 0);
