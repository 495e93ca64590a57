// Defects of descriptor chains (VIRTIO 1.2: 2.7.5): each changes a good chain, then its head is sent.
#pragma once
#include "block.h"

#define DATA 4096
// In the 32-bit hole, where neither RAM nor a BAR is.
#define HOLE 0xd0000000ull

// What the chains point to; the payload sets them.
static u8 *data;
static struct descriptor *table;
static u64 ram_end;

struct defect {
  const char *name;
  // Changes a good chain of `count` descriptors at d; returns the head to send.
  u16 (*apply)(struct virtqueue *queue, struct descriptor *d, u32 count);
};

#define DEFECT(name) static u16 name(struct virtqueue *queue, struct descriptor *d, u32 count)
#define UNUSED (void)queue, (void)d, (void)count

DEFECT(loop_to_itself) { UNUSED; d[0].flags |= DESC_NEXT, d[0].next = 0; return 0; }
DEFECT(loop_of_two) { UNUSED; d[0].flags |= DESC_NEXT, d[0].next = 1, d[1] = d[0], d[1].next = 0; return 0; }
DEFECT(loop_of_all) {
  UNUSED;
  for (u32 i = 0; i < queue->size; i++) {
    d[i] = (struct descriptor){(u64)data, 16, DESC_NEXT, (i + 1) % queue->size};
  }
  return 0;
}
DEFECT(loop_of_large_buffers) {
  UNUSED;
  for (u32 i = 0; i < queue->size; i++) {
    d[i] = (struct descriptor){0x100000, ram_end - 0x100000, DESC_NEXT, (i + 1) % queue->size};
  }
  return 0;
}
DEFECT(next_is_queue_size) { UNUSED; d[0].flags |= DESC_NEXT, d[0].next = queue->size; return 0; }
DEFECT(next_is_65535) { UNUSED; d[count - 1].flags |= DESC_NEXT, d[count - 1].next = 0xffff; return 0; }
DEFECT(head_is_queue_size) { UNUSED; return queue->size; }
DEFECT(head_is_65535) { UNUSED; return 0xffff; }
DEFECT(chain_of_whole_queue) {
  UNUSED;
  for (u32 i = count - 1; i + 1 < queue->size; i++) {
    d[i].flags |= DESC_NEXT, d[i].next = i + 1;
    d[i + 1] = (struct descriptor){(u64)data, 16, DESC_WRITE, 0};
  }
  return 0;
}
DEFECT(address_all_ones) { UNUSED; d[0].address = ~0ull; return 0; }
DEFECT(address_wraps) { UNUSED; d[0].address = ~0ull - 8; return 0; }
DEFECT(address_2_to_63) { UNUSED; d[count - 1].address = 1ull << 63; return 0; }
DEFECT(address_2_to_53) { UNUSED; d[count - 1].address = (1ull << 53) + 1; return 0; }
DEFECT(address_in_hole) { UNUSED; d[0].address = HOLE; return 0; }
DEFECT(data_in_hole) { UNUSED; d[count > 1].address = HOLE; return 0; }
DEFECT(data_in_ioapic) { UNUSED; d[count > 1].address = 0xfec00000; return 0; }
DEFECT(data_in_lapic) { UNUSED; d[count > 1].address = 0xfee00000; return 0; }
DEFECT(data_in_own_registers) { UNUSED; d[count > 1].address = queue->device->common; return 0; }
DEFECT(data_at_end_of_ram) { UNUSED; d[count > 1].address = ram_end; return 0; }
DEFECT(data_across_end_of_ram) { UNUSED; d[count > 1].address = ram_end - 8; return 0; }
DEFECT(header_across_end_of_ram) { UNUSED; d[0].address = ram_end - 8; return 0; }
DEFECT(status_in_hole) { UNUSED; d[count - 1].address = HOLE; return 0; }
DEFECT(length_2_to_32) { UNUSED; d[count > 1].length = 0xffffffff; return 0; }
DEFECT(length_2_gib) { UNUSED; d[count > 1].length = 0x80000000; return 0; }
DEFECT(zero_length_header) { UNUSED; d[0].length = 0; return 0; }
DEFECT(zero_length_data) { UNUSED; d[count > 1].length = 0; return 0; }
DEFECT(zero_length_status) { UNUSED; d[count - 1].length = 0; return 0; }
DEFECT(all_zero_length) { UNUSED; for (u32 i = 0; i < count; i++) d[i].length = 0; return 0; }
DEFECT(zero_length_in_hole) { UNUSED; for (u32 i = 0; i < count; i++) d[i].length = 0, d[i].address = HOLE; return 0; }
DEFECT(short_header) { UNUSED; d[0].length = 7; return 0; }
DEFECT(long_header) { UNUSED; d[0].length = 4096; return 0; }
DEFECT(one_descriptor) { UNUSED; d[0].flags &= ~DESC_NEXT; return 0; }
DEFECT(two_descriptors) { UNUSED; d[1].flags &= ~DESC_NEXT; return 0; }
DEFECT(header_writable) { UNUSED; d[0].flags |= DESC_WRITE; return 0; }
DEFECT(status_readable) { UNUSED; d[count - 1].flags &= ~DESC_WRITE; return 0; }
DEFECT(all_directions_reversed) { UNUSED; for (u32 i = 0; i < count; i++) d[i].flags ^= DESC_WRITE; return 0; }
DEFECT(readable_after_writable) {
  UNUSED;
  d[count - 1].flags |= DESC_NEXT, d[count - 1].next = count;
  d[count] = (struct descriptor){(u64)data, 16, 0, 0};
  return 0;
}
DEFECT(unknown_flags) { UNUSED; for (u32 i = 0; i < count; i++) d[i].flags |= 0xfff8; return 0; }
DEFECT(data_over_descriptors) { UNUSED; d[count > 1].address = (u64)queue->desc; return 0; }
DEFECT(data_over_available_ring) { UNUSED; d[count > 1].address = (u64)queue->avail; return 0; }
DEFECT(data_over_used_ring) { UNUSED; d[count > 1].address = (u64)queue->used; return 0; }
DEFECT(status_over_available_index) { UNUSED; d[count - 1].address = (u64)&queue->avail[1]; return 0; }

static u16 indirect(struct descriptor *d, u64 address, u32 length) {
  d[0] = (struct descriptor){address, length, DESC_INDIRECT, 0};
  return 0;
}
DEFECT(indirect_good) { UNUSED; memcpy(table, d, 16 * count); return indirect(d, (u64)table, 16 * count); }
DEFECT(indirect_length_0) { UNUSED; return indirect(d, (u64)table, 0); }
DEFECT(indirect_length_15) { UNUSED; memcpy(table, d, 16); return indirect(d, (u64)table, 15); }
DEFECT(indirect_length_17) { UNUSED; memcpy(table, d, 16 * count); return indirect(d, (u64)table, 16 * count + 1); }
DEFECT(indirect_length_2_to_32) { UNUSED; memcpy(table, d, 16 * count); return indirect(d, (u64)table, 0xfffffff0); }
DEFECT(indirect_longer_than_queue) {
  UNUSED;
  u32 entries = queue->size * 2;
  for (u32 i = 0; i < entries; i++) table[i] = (struct descriptor){(u64)data, 16, DESC_NEXT | DESC_WRITE, i + 1};
  table[entries - 1].flags = DESC_WRITE;
  return indirect(d, (u64)table, 16 * entries);
}
DEFECT(indirect_in_hole) { UNUSED; return indirect(d, HOLE, 48); }
DEFECT(indirect_across_end_of_ram) { UNUSED; return indirect(d, ram_end - 16, 48); }
DEFECT(indirect_wraps) { UNUSED; return indirect(d, ~0ull - 15, 48); }
DEFECT(indirect_in_indirect) {
  UNUSED;
  table[0] = (struct descriptor){(u64)(table + 4), 48, DESC_INDIRECT, 0};
  memcpy(table + 4, d, 16 * count);
  return indirect(d, (u64)table, 16);
}
DEFECT(indirect_is_itself) {
  UNUSED;
  table[0] = (struct descriptor){(u64)table, 16, DESC_INDIRECT, 0};
  return indirect(d, (u64)table, 16);
}
DEFECT(indirect_with_next) {
  UNUSED;
  memcpy(table, d, 16 * count);
  indirect(d, (u64)table, 16 * count);
  d[0].flags |= DESC_NEXT, d[0].next = 1;
  d[1] = (struct descriptor){(u64)data, 16, DESC_WRITE, 0};
  return 0;
}
DEFECT(indirect_writable) {
  UNUSED;
  memcpy(table, d, 16 * count);
  indirect(d, (u64)table, 16 * count);
  d[0].flags |= DESC_WRITE;
  return 0;
}
DEFECT(indirect_loop) {
  UNUSED;
  for (u32 i = 0; i < 4; i++) table[i] = (struct descriptor){(u64)data, 16, DESC_NEXT, (i + 1) % 4};
  return indirect(d, (u64)table, 64);
}
DEFECT(indirect_next_outside) {
  UNUSED;
  memcpy(table, d, 16 * count);
  table[count - 1].flags |= DESC_NEXT, table[count - 1].next = count + 1;
  return indirect(d, (u64)table, 16 * count);
}
DEFECT(indirect_unaligned) {
  UNUSED;
  memcpy((u8 *)table + 1, d, 16 * count);
  return indirect(d, (u64)table + 1, 16 * count);
}
DEFECT(same_head_twice) { UNUSED; virtq_push(queue, 0); virtq_push(queue, 0); return 0; }
DEFECT(avail_jumps_by_size_and_1) {
  UNUSED;
  queue->next_avail += queue->size;
  return 0;
}
DEFECT(avail_jumps_by_32768) { UNUSED; queue->next_avail += 0x8000; return 0; }
DEFECT(avail_goes_back) { UNUSED; queue->next_avail -= 2; return 0; }
DEFECT(event_index_garbage) {
  UNUSED;
  queue->avail[2 + queue->size] = 0xdead;
  queue->used[2 + 4 * queue->size] = 0xbeef;
  return 0;
}

#define D(name) {#name, name}
static const struct defect defects[] = {
    D(loop_to_itself), D(loop_of_two), D(loop_of_all), D(loop_of_large_buffers), D(next_is_queue_size),
    D(next_is_65535), D(head_is_queue_size), D(head_is_65535), D(chain_of_whole_queue), D(address_all_ones),
    D(address_wraps), D(address_2_to_63), D(address_2_to_53), D(address_in_hole), D(data_in_hole), D(data_in_ioapic),
    D(data_in_lapic), D(data_in_own_registers), D(data_at_end_of_ram), D(data_across_end_of_ram),
    D(header_across_end_of_ram), D(status_in_hole), D(length_2_to_32), D(length_2_gib), D(zero_length_header),
    D(zero_length_data), D(zero_length_status), D(all_zero_length), D(zero_length_in_hole), D(short_header),
    D(long_header), D(one_descriptor), D(two_descriptors), D(header_writable), D(status_readable),
    D(all_directions_reversed), D(readable_after_writable), D(unknown_flags), D(data_over_descriptors),
    D(data_over_available_ring), D(data_over_used_ring), D(status_over_available_index), D(indirect_good),
    D(indirect_length_0), D(indirect_length_15), D(indirect_length_17), D(indirect_length_2_to_32),
    D(indirect_longer_than_queue), D(indirect_in_hole), D(indirect_across_end_of_ram), D(indirect_wraps),
    D(indirect_in_indirect), D(indirect_is_itself), D(indirect_with_next), D(indirect_writable), D(indirect_loop),
    D(indirect_next_outside), D(indirect_unaligned), D(same_head_twice), D(avail_jumps_by_size_and_1),
    D(avail_jumps_by_32768), D(avail_goes_back), D(event_index_garbage),
};
