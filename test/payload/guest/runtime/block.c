#include "block.h"

#define ANSWER_NS 10000000000

void blk_open(struct blk *blk, u32 nth, u64 features) {
  if (!virtio_open(&blk->device, VIRTIO_BLOCK, nth)) fail("no block device %u", nth);
  virtio_negotiate(&blk->device, features);
  virtio_queue_init(&blk->queue, &blk->device, 0, param_number("queue_size", 0));
  virtio_driver_ok(&blk->device);
  blk->sectors = read32(blk->device.config) | (u64)read32(blk->device.config + 4) << 32;
}

void blk_reopen(struct blk *blk, u64 features) {
  virtio_negotiate(&blk->device, features);
  virtio_queue_restart(&blk->queue);
  virtio_driver_ok(&blk->device);
}

u8 blk_request(struct blk *blk, u32 type, u64 sector, const struct buffer *data, u32 count, u32 *used_length) {
  static struct blk_header header;
  static volatile u8 status;
  struct buffer buffers[18];
  if (count > 16) fail("blk_request takes 16 data buffers");
  header = (struct blk_header){type, 0, sector};
  status = BLK_NO_ANSWER;
  buffers[0] = (struct buffer){&header, sizeof header};
  for (u32 i = 0; i < count; i++) buffers[1 + i] = data[i];
  buffers[1 + count] = (struct buffer){(void *)&status, 1};
  bool device_writes = type == BLK_IN || type == BLK_GET_ID;
  u32 readable = device_writes ? 1 : 1 + count;
  u32 writable = count + 2 - readable;
  int head;
  static struct descriptor table[18] __attribute__((aligned(16)));
  if (blk->device.features & FEATURE_INDIRECT_DESC)
    head = virtq_add_indirect(&blk->queue, table, buffers, readable, writable);
  else
    head = virtq_add(&blk->queue, buffers, readable, writable);
  if (head < 0) fail("no free descriptors");
  virtq_kick(&blk->queue);
  u32 length = 0;
  int done = virtq_wait(&blk->queue, &length, ANSWER_NS);
  if (done < 0)
    fail("no answer to request type %u sector %lu: device status %x", type, sector, virtio_status(&blk->device));
  if (done != head) fail("request %d answered as %d", head, done);
  if (used_length) *used_length = length;
  return status;
}

u8 blk_read(struct blk *blk, u64 sector, void *to, u32 length) {
  struct buffer data = {to, length};
  return blk_request(blk, BLK_IN, sector, &data, 1, NULL);
}

u8 blk_write(struct blk *blk, u64 sector, const void *from, u32 length) {
  struct buffer data = {(void *)from, length};
  return blk_request(blk, BLK_OUT, sector, &data, 1, NULL);
}
