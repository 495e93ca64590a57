// Every descriptor-chain and ring defect on every virtio queue: after each one the device may answer, stay silent or ask
// for a reset, but once reset it serves a well-behaved request again, and it writes nothing after the reset.
// Parameters: rounds (of random rings at the end), seed, only (name of one defect).
#include "runtime/chain_defects.h"
#include "runtime/net.h"

#define GUARD 0x5a

struct target {
  const char *name;
  u16 type;
  u16 queues;
  u64 features;
  struct virtio_device device;
  struct virtqueue queue[3];
};

static struct target targets[] = {
    {.name = "block", .type = VIRTIO_BLOCK, .queues = 1, .features = FEATURE_INDIRECT_DESC | FEATURE_EVENT_IDX},
    {.name = "console", .type = VIRTIO_CONSOLE, .queues = 2, .features = FEATURE_EVENT_IDX | FEATURE_INDIRECT_DESC},
    {.name = "rng", .type = VIRTIO_RNG, .queues = 1, .features = FEATURE_EVENT_IDX | FEATURE_INDIRECT_DESC},
    {.name = "net", .type = VIRTIO_NET, .queues = 3, .features = FEATURE_EVENT_IDX | NET_F_CTRL_VQ | NET_F_MQ | NET_F_CSUM},
    {.name = "balloon", .type = VIRTIO_BALLOON, .queues = 3, .features = ~0ull},
    {.name = "pmem", .type = VIRTIO_PMEM, .queues = 1},
    {.name = "vsock", .type = VIRTIO_VSOCK, .queues = 3},
    {.name = "rtc", .type = VIRTIO_RTC, .queues = 1},
    {.name = "watchdog", .type = VIRTIO_WATCHDOG, .queues = 1},
};

static struct blk_header header;
// A page that may be given to the host.
static u8 *gift;
static volatile u8 status;
static u64 seed;
// On QEMU, as on hardware, a device that writes to the local APIC's address sends an interrupt of whatever vector.
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
  if (target->type == VIRTIO_BALLOON) {
    // Whatever part of it is taken for a list names the same page.
    for (u32 i = 0; i < DATA / 4; i++) ((u32 *)data)[i] = (u64)gift / 4096;
    gift[0] = GUARD;
    to[0] = q < 2 ? (struct descriptor){(u64)data, 4, 0, 0} : (struct descriptor){(u64)gift, 4096, DESC_WRITE, 0};
    return 1;
  }
  if (target->type == VIRTIO_RTC) {
    memcpy(data, (u8[]){0x00, 0x10}, 2);
    to[0] = (struct descriptor){(u64)data, 8, DESC_NEXT, 1};
    to[1] = (struct descriptor){(u64)data + 64, 16, DESC_WRITE, 0};
    return 2;
  }
  if (target->type == VIRTIO_NET && q > 0) {
    // A broadcast, or an acknowledgement.
    memset(data, 0, NET_HEADER);
    memset(data + 64, 0xff, 6);
    memset(data + 70, 2, 54);
    if (q == 2) data[0] = NET_CTRL_ANNOUNCE;
    to[0] = (struct descriptor){(u64)data, q == 2 ? 2 : NET_HEADER, DESC_NEXT, 1};
    to[1] = (struct descriptor){(u64)data + 64, q == 2 ? 1 : 60, q == 2 ? DESC_WRITE : 0, 0};
    return 2;
  }
  if (target->type == VIRTIO_NET) {
    to[0] = (struct descriptor){(u64)data + 128, 2048, DESC_WRITE, 0};
    return 1;
  }
  if (target->type == VIRTIO_PMEM) {
    memset(data, 0, 4);
    to[0] = (struct descriptor){(u64)data, 4, DESC_NEXT, 1};
    to[1] = (struct descriptor){(u64)data + 64, 4, DESC_WRITE, 0};
    return 2;
  }
  if (target->type == VIRTIO_VSOCK && q == 1) {
    // A packet that is not for the host is taken, and that is all.
    memset(data, 0, 44);
    to[0] = (struct descriptor){(u64)data, 44, 0, 0};
    return 1;
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

// A bridge takes a while before it forwards anything.
static void await_network(struct target *target) {
  restart(target);
  virtio_driver_ok(&target->device);
  good_chain(target, 0, target->queue[0].desc);
  send(&target->queue[0], 0);
  u64 deadline = now_ns() + 10000000000;
  while (target->queue[0].used[1] == 0) {
    if (now_ns() > deadline) fail("the network gives nothing back");
    good_chain(target, 1, target->queue[1].desc);
    send(&target->queue[1], 0);
    spin_ns(10000000);
  }
}

static void expect_service(struct target *target, const char *after) {
  restart(target);
  virtio_driver_ok(&target->device);
  for (u32 q = 0; q < target->queues; q++) {
    // The receive queue of a console answers only when somebody types, and that of a socket device when somebody connects.
    if (target->type == VIRTIO_CONSOLE && q == 0) continue;
    if (target->type == VIRTIO_VSOCK && q != 1) continue;
    struct virtqueue *queue = &target->queue[q];
    good_chain(target, q, queue->desc);
    send(queue, 0);
    // A network gives back what is sent to it: the frame that comes in is the next queue's.
    if (target->type == VIRTIO_NET && q == 0) continue;
    u64 deadline = now_ns() + 10000000000;
    while (queue->used[1] == 0 || (target->type == VIRTIO_NET && target->queue[0].used[1] == 0))
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
    if (target->type == VIRTIO_BALLOON)
      expect(element->length == (q == 2 ? 4096 : 0) && (gift[0] == 0) == (q != 1), "balloon queue %u after %s: length %u", q,
             after, element->length);
    if (target->type == VIRTIO_RTC)
      expect(element->length == 16 && data[64] == 0 && data[72] == 1, "rtc after %s: length %u, status %u", after,
             element->length, data[64]);
    if (target->type == VIRTIO_WATCHDOG)
      expect(element->length == 64 && data[0] == 1, "watchdog after %s: length %u, byte %u", after, element->length,
             data[0]);
  }
}

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
  u32 requests = target->queue[0].size / 3 < 42 ? target->queue[0].size / 3 : 42;
  u32 bytes = requests << 20;
  u8 *large = allocate(bytes, 4096);
  u64 cut_short = 0;
  for (u32 round = 0; round < 20; round++) {
    restart(target);
    virtio_driver_ok(&target->device);
    struct virtqueue *queue = &target->queue[0];
    header = (struct blk_header){BLK_IN, 0, 8};
    for (u32 i = 0; i < requests; i++) {
      queue->desc[i * 3] = (struct descriptor){(u64)&header, sizeof header, DESC_NEXT, i * 3 + 1};
      queue->desc[i * 3 + 1] =
          (struct descriptor){(u64)large + (i << 20), 1 << 20, DESC_NEXT | DESC_WRITE, i * 3 + 2};
      queue->desc[i * 3 + 2] = (struct descriptor){(u64)&status, 1, DESC_WRITE, 0};
      virtq_push(queue, i * 3);
    }
    virtq_kick(queue);
    if (round & 1) spin_ns(next_random() % 500000);
    virtio_reset(&target->device);
    // A few bytes of each buffer, so that the guards are set while a late transfer still runs.
    for (u32 i = 0; i < bytes; i += 1 << 16) large[i] = large[i + 0xffff] = GUARD;
    status = GUARD;
    u16 used = queue->used[1];
    spin_ns(10000000);
    u64 changed = 0;
    for (u32 i = 0; i < bytes; i += 1 << 16) changed += large[i] != GUARD || large[i + 0xffff] != GUARD;
    expect(changed == 0, "%lu places were written after a reset", changed);
    cut_short += used < requests;
    expect(status == GUARD && queue->used[1] == used, "a request was completed after a reset");
  }
  print("%lu of 20 resets came before the last request was done\n", cut_short);
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
  if (target->type == VIRTIO_NET) await_network(target);
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
  // Lists of pages from anywhere would give the host the pages that this runs in.
  if (target->type == VIRTIO_BALLOON) rounds = 0;
  for (u32 round = 0; round < rounds; round++)
    for (u32 q = 0; q < target->queues; q++) {
      random_rings(target, q);
      expect_service(target, "random rings");
    }
  virtio_reset(&target->device);
}

void payload(void) {
  seed = param_number("seed", 0x2545f4914f6cdd1d);
  if (seed == 0) fail("seed must not be 0");
  // Nothing of ours lies within 4 GiB lengths of these: a write that runs on only reaches unused memory.
  ram_end = ram_top_below_4g();
  table = allocate(64 << 10, 4096);
  data = allocate(1 << 20, 4096);
  gift = allocate(4096, 4096);
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
