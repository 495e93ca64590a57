// Every descriptor-chain and ring defect on every virtio queue: after each one the device may answer, stay silent or ask
// for a reset, but once reset it serves a well-behaved request again, and it writes nothing after the reset.
// Parameters: rounds (of random rings at the end), seed, only (name of one defect).
#include "runtime/block.h"

#define DATA 4096
#define HOLE 0xd0000000ull
#define GUARD 0x5a

struct target {
  const char *name;
  u16 type;
  u16 queues;
  u64 features;
  struct virtio_device device;
  struct virtqueue queue[2];
};

static struct target targets[] = {
    {.name = "block", .type = VIRTIO_BLOCK, .queues = 1, .features = FEATURE_INDIRECT_DESC | FEATURE_EVENT_IDX},
    {.name = "console", .type = VIRTIO_CONSOLE, .queues = 2, .features = FEATURE_EVENT_IDX | FEATURE_INDIRECT_DESC},
    {.name = "rng", .type = VIRTIO_RNG, .queues = 1, .features = FEATURE_EVENT_IDX | FEATURE_INDIRECT_DESC},
};

static struct blk_header header;
static u8 *data;
static volatile u8 status;
static struct descriptor *table;
static u64 ram_end, seed;
// There, as on hardware, a device that writes to the local APIC's address sends an interrupt of whatever vector.
static bool on_qemu;
static u64 answers, resets_wanted, silences;

static u64 next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

// A well-formed chain for the queue in `to`; returns its length.
static u32 good_chain(struct target *target, u32 q, struct descriptor *to) {
  if (target->type == VIRTIO_BLOCK) {
    header = (struct blk_header){BLK_IN, 0, 8};
    status = BLK_NO_ANSWER;
    to[0] = (struct descriptor){(u64)&header, sizeof header, DESC_NEXT, 1};
    to[1] = (struct descriptor){(u64)data, DATA, DESC_NEXT | DESC_WRITE, 2};
    to[2] = (struct descriptor){(u64)&status, 1, DESC_WRITE, 0};
    return 3;
  }
  bool transmit = target->type == VIRTIO_CONSOLE && q == 1;
  to[0] = (struct descriptor){(u64)data, transmit ? 1 : 64, transmit ? 0 : DESC_WRITE, 0};
  if (transmit) data[0] = '.';
  return 1;
}

static void restart(struct target *target) {
  virtio_negotiate(&target->device, target->features);
  for (u32 q = 0; q < target->queues; q++) virtio_queue_restart(&target->queue[q]);
}

// Sends the head, in a way that does not depend on the state of the rings.
static void send(struct virtqueue *queue, u16 head) {
  virtq_push(queue, head);
  queue->avail[1] = queue->published = queue->next_avail;
  full_barrier();
  virtq_notify(queue);
}

static void expect_service(struct target *target, const char *after) {
  restart(target);
  virtio_driver_ok(&target->device);
  for (u32 q = 0; q < target->queues; q++) {
    // The receive queue of a console answers only when somebody types.
    if (target->type == VIRTIO_CONSOLE && q == 0) continue;
    struct virtqueue *queue = &target->queue[q];
    good_chain(target, q, queue->desc);
    send(queue, 0);
    u64 deadline = now_ns() + 10000000000;
    while (queue->used[1] == 0)
      if (now_ns() > deadline)
        fail("%s queue %u gives no service after %s: status %x", target->name, q, after,
             virtio_status(&target->device));
    struct used_element *element = (struct used_element *)(queue->used + 2);
    expect(queue->used[1] == 1 && element->id == 0, "%s after %s: used index %u, id %u", target->name, after,
           queue->used[1], element->id);
    if (target->type == VIRTIO_BLOCK)
      expect(status == BLK_OK && element->length == DATA + 1, "block after %s: status %u, length %u", after, status,
             element->length);
    if (target->type == VIRTIO_RNG)
      expect(element->length > 0 && element->length <= 64, "rng after %s: length %u", after, element->length);
  }
}

// ---- defects of chains: the descriptors are changed, then descriptor 0 is sent (or another head)

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

// ---- defects of rings: where the device is told that they lie

static const u64 bad_rings[] = {HOLE, 0xfee00000, 0xfec00000, ~0ull & ~0xfffull, 1ull << 63, 1ull << 52, 0x1001, 0};

static void settle(struct target *target, struct virtqueue *queue) {
  u64 deadline = now_ns() + 5000000;
  for (;;) {
    if (queue->used[1] != 0) {
      answers++;
      return;
    }
    if (virtio_status(&target->device) & STATUS_NEEDS_RESET) {
      resets_wanted++;
      return;
    }
    if (now_ns() > deadline) {
      silences++;
      return;
    }
  }
}

static void try_chain(struct target *target, u32 q, const struct defect *defect) {
  restart(target);
  virtio_driver_ok(&target->device);
  struct virtqueue *queue = &target->queue[q];
  u32 count = good_chain(target, q, queue->desc);
  send(queue, defect->apply(queue, queue->desc, count));
  settle(target, queue);
}

// Which of the three ring addresses is bad: bit 0 descriptors, 1 available, 2 used.
static void try_rings(struct target *target, u64 address, u32 which) {
  restart(target);
  u64 common = target->device.common;
  write16(common + COMMON_QUEUE_SELECT, 0);
  write16(common + COMMON_QUEUE_ENABLE, 0);
  for (u32 i = 0; i < 3; i++) {
    if (!(which >> i & 1)) continue;
    write32(common + COMMON_QUEUE_DESC + i * 8, address);
    write32(common + COMMON_QUEUE_DESC + i * 8 + 4, address >> 32);
  }
  write16(common + COMMON_QUEUE_ENABLE, 1);
  virtio_set_status(&target->device, 0xf);
  struct virtqueue *queue = &target->queue[0];
  good_chain(target, 0, queue->desc);
  send(queue, 0);
  settle(target, queue);
}

static void try_queue_sizes(struct target *target) {
  static const u16 sizes[] = {0, 3, 5, 6, 100, 0x7fff, 0x8000, 0xffff};
  u64 common = target->device.common;
  for (u32 i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    virtio_negotiate(&target->device, target->features);
    write16(common + COMMON_QUEUE_SELECT, 0);
    write16(common + COMMON_QUEUE_SIZE, sizes[i]);
    u16 got = read16(common + COMMON_QUEUE_SIZE);
    // QEMU takes sizes that are no power of two; that is a matter of packed rings.
    bool lawful = sizes[i] != 0 && sizes[i] <= target->queue[0].size && !(sizes[i] & (sizes[i] - 1));
    expect(lawful || got == target->queue[0].size || on_qemu, "%s takes queue size %u as %u", target->name,
           sizes[i], got);
    write32(common + COMMON_QUEUE_DESC, (u64)target->queue[0].desc);
    write32(common + COMMON_QUEUE_DRIVER, (u64)target->queue[0].avail);
    write32(common + COMMON_QUEUE_DEVICE, (u64)target->queue[0].used);
    write16(common + COMMON_QUEUE_ENABLE, 1);
    virtio_set_status(&target->device, 0xf);
    virtq_notify(&target->queue[0]);
  }
}

// Requests in flight when the reset comes: none of them may write memory once the reset is done.
static void reset_in_flight(struct target *target) {
  if (target->type != VIRTIO_BLOCK) return;
  u8 *large = allocate(16 << 20, 4096);
  for (u32 round = 0; round < 20; round++) {
    restart(target);
    virtio_driver_ok(&target->device);
    struct virtqueue *queue = &target->queue[0];
    header = (struct blk_header){BLK_IN, 0, 8};
    for (u32 i = 0; i < 16 && i * 3 + 2 < queue->size; i++) {
      queue->desc[i * 3] = (struct descriptor){(u64)&header, sizeof header, DESC_NEXT, i * 3 + 1};
      queue->desc[i * 3 + 1] =
          (struct descriptor){(u64)large + (i << 20), 1 << 20, DESC_NEXT | DESC_WRITE, i * 3 + 2};
      queue->desc[i * 3 + 2] = (struct descriptor){(u64)&status, 1, DESC_WRITE, 0};
      virtq_push(queue, i * 3);
    }
    virtq_kick(queue);
    spin_ns(next_random() % 300000);
    virtio_reset(&target->device);
    memset(large, GUARD, 16 << 20);
    status = GUARD;
    u16 used = queue->used[1];
    spin_ns(2000000);
    u64 changed = 0;
    for (u32 i = 0; i < 16 << 20; i += 512) changed += large[i] != GUARD || large[i + 511] != GUARD;
    expect(changed == 0, "%lu sectors were written after a reset", changed);
    expect(status == GUARD && queue->used[1] == used, "a request was completed after a reset");
  }
  expect_service(target, "reset in flight");
}

static u64 random_address(void) {
  switch (next_random() % 6) {
    case 0:
      return next_random();
    case 1:
      return HOLE + next_random() % 0x1000000;
    case 2:
      return ram_end - 64 + next_random() % 128;
    case 3:
      return (u64)table + next_random() % 4096;
    default:
      return (u64)data + next_random() % DATA;
  }
}

static void random_rings(struct target *target, u32 q) {
  restart(target);
  virtio_driver_ok(&target->device);
  struct virtqueue *queue = &target->queue[q];
  for (u32 i = 0; i < queue->size; i++) {
    u16 flags = next_random() & (next_random() % 4 == 0 ? 0xffff : 7);
    queue->desc[i] = (struct descriptor){random_address(), next_random() >> (32 + next_random() % 32), flags,
                                         next_random() % (queue->size + 1)};
    table[i % 256] = (struct descriptor){random_address(), next_random() % 4096, flags & ~DESC_INDIRECT,
                                         next_random() % 256};
  }
  header = (struct blk_header){next_random() % 16, 0, next_random() >> (next_random() % 64)};
  for (u32 burst = 0; burst < 4; burst++) {
    u32 count = next_random() % queue->size;
    for (u32 i = 0; i < count; i++) virtq_push(queue, next_random() % (queue->size + 1));
    queue->avail[1] = queue->published = queue->next_avail;
    full_barrier();
    virtq_notify(queue);
  }
  settle(target, queue);
}

// Random writes must not reach this code or its page tables, so devices that write get a random address only in `data`
// and `table`, whose surroundings are unused; that is what random_address and the 16 MiB below provide.
static void run(struct target *target) {
  const char *only = param("only", NULL);
  u64 rounds = param_number("rounds", 20);
  for (u32 q = 0; q < target->queues; q++) virtio_queue_init(&target->queue[q], &target->device, q, 0);
  expect_service(target, "start");
  for (u32 q = 0; q < target->queues; q++)
    for (u32 i = 0; i < sizeof defects / sizeof defects[0]; i++) {
      if (only && !streq(only, defects[i].name)) continue;
      if (on_qemu && streq(defects[i].name, "data_in_lapic")) continue;
      try_chain(target, q, &defects[i]);
      expect_service(target, defects[i].name);
    }
  if (only) return;
  for (u32 i = 0; i < sizeof bad_rings / sizeof bad_rings[0]; i++)
    for (u32 which = 1; which < 8; which <<= 1) {
      if (on_qemu && bad_rings[i] == 0xfee00000) continue;
      try_rings(target, bad_rings[i], which);
      expect_service(target, "bad ring address");
    }
  try_rings(target, ram_end - 16, 7);
  expect_service(target, "rings across the end of RAM");
  try_queue_sizes(target);
  expect_service(target, "bad queue size");
  reset_in_flight(target);
  for (u32 round = 0; round < rounds; round++)
    for (u32 q = 0; q < target->queues; q++) {
      random_rings(target, q);
      expect_service(target, "random rings");
    }
  virtio_reset(&target->device);
}

void payload(void) {
  seed = param_number("seed", 0x2545f4914f6cdd1d);
  // Nothing of ours lies within 4 GiB lengths of these: a write that runs on only reaches unused memory.
  ram_end = ram_top_below_4g();
  table = allocate(64 << 10, 4096);
  data = allocate(1 << 20, 4096);
  on_qemu = param_is("exit", "qemu");
  u32 found = 0;
  for (u32 i = 0; i < sizeof targets / sizeof targets[0]; i++) {
    if (!virtio_open(&targets[i].device, targets[i].type, 0)) continue;
    found++;
    run(&targets[i]);
    print("%s done\n", targets[i].name);
  }
  if (!found) fail("no virtio device");
  print("RESULT devices=%u defects=%u answers=%lu needs_reset=%lu silent=%lu\n", found,
        (u32)(sizeof defects / sizeof defects[0]), answers, resets_wanted, silences);
}
