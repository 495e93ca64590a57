// Several processors abuse the same devices at once: resets against notifications, queue set-up against I/O, BAR moves
// against accesses, MSI-X masks against interrupts. Afterwards each device is reset once and serves a request.
// Parameters: cpus, seconds, seed.
#include "runtime/block.h"

#define QUEUES 2
#define RING 16

struct shared_device {
  u16 type;
  struct virtio_device device;
  struct virtqueue queues[QUEUES];
  u32 queue_count;
  u64 bar_home, bar_away;
};

static struct shared_device devices[3];
static u32 device_count;
static u64 deadline_ns, base_seed;
static volatile u64 operations;
static struct blk_header header;
static volatile u8 status;
static u8 *data;

static u64 xorshift(u64 *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

// Chains that write only to `data`, published ever anew; several processors at it make the indices jump about.
static void feed(struct shared_device *shared, u32 q, u64 random) {
  struct virtqueue *queue = &shared->queues[q];
  for (u32 i = 0; i < 1 + random % 4; i++) virtq_push(queue, shared->type == VIRTIO_BLOCK ? random % 5 * 3 : random % RING);
  queue->avail[1] = queue->next_avail;
  full_barrier();
  virtq_notify(queue);
}

static void prepare(struct shared_device *shared) {
  for (u32 q = 0; q < shared->queue_count; q++) {
    struct virtqueue *queue = &shared->queues[q];
    virtio_queue_init(queue, &shared->device, q, RING);
    for (u32 i = 0; i < RING; i++) {
      struct descriptor *d = &queue->desc[i];
      if (shared->type != VIRTIO_BLOCK) {
        *d = (struct descriptor){(u64)data, 64, q == 1 ? 0 : DESC_WRITE, 0};
        continue;
      }
      if (i % 3 == 0) *d = (struct descriptor){(u64)&header, sizeof header, DESC_NEXT, i + 1};
      if (i % 3 == 1) *d = (struct descriptor){(u64)data, 65536, DESC_NEXT | DESC_WRITE, i + 1};
      if (i % 3 == 2) *d = (struct descriptor){(u64)&status, 1, DESC_WRITE, 0};
    }
  }
}

// At home or away, wherever another processor has moved it meanwhile.
static void move_bar(struct shared_device *shared, u64 random) {
  pci_function f = shared->device.function;
  u64 to = random & 1 ? shared->bar_home : shared->bar_away;
  if (random & 2) pci_write16(f, PCI_COMMAND, 0);
  pci_write32(f, PCI_BAR0, to | (shared->type == VIRTIO_BLOCK ? 0 : 4));
  if (shared->type != VIRTIO_BLOCK) pci_write32(f, PCI_BAR0 + 4, to >> 32);
  if (random & 2) pci_write16(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void abuse(struct shared_device *shared, u64 random) {
  static const u8 statuses[] = {0, 1, 3, 0xb, 0xf, 0xf, 0xf, 0x40, 0x80, 0xff};
  u64 away = random >> 60 == 0 ? shared->bar_away - shared->bar_home : 0;
  u64 common = shared->device.common + away;
  u32 q = random >> 8 & 1 && shared->queue_count > 1;
  u64 arguments = random >> 16;
  switch (random % 12) {
    case 0:
      write8(common + COMMON_STATUS, statuses[arguments % sizeof statuses]);
      break;
    case 1:
      write32(common + COMMON_DRIVER_FEATURE_SELECT, arguments & 1);
      write32(common + COMMON_DRIVER_FEATURE, arguments & 2 ? ~0u : arguments >> 2);
      break;
    case 2:
    case 3:
      write8(common + COMMON_STATUS, 0xb);
      write16(common + COMMON_QUEUE_SELECT, q);
      write16(common + COMMON_QUEUE_SIZE, RING);
      for (u32 ring = 0; ring < 3; ring++) {
        struct virtqueue *queue = &shared->queues[q];
        u64 address = ring == 0 ? (u64)queue->desc : ring == 1 ? (u64)queue->avail : (u64)queue->used;
        if (arguments % 16 == 0) address += 0xd0000000;
        write32(common + COMMON_QUEUE_DESC + ring * 8, address);
        write32(common + COMMON_QUEUE_DESC + ring * 8 + 4, 0);
      }
      write16(common + COMMON_QUEUE_VECTOR, q);
      write16(common + COMMON_QUEUE_ENABLE, 1);
      write8(common + COMMON_STATUS, 0xf);
      break;
    case 4:
    case 5:
    case 6:
      feed(shared, q, arguments);
      break;
    case 7:
      msix_mask(&shared->device, arguments % 3, arguments >> 8 & 1);
      break;
    case 8:
      msix_enable(&shared->device, arguments & 1, arguments & 2);
      break;
    case 9:
      if (arguments % 4 == 0) move_bar(shared, arguments >> 2);
      break;
    case 10:
      (void)read32(common + COMMON_STATUS - 4), (void)read8(shared->device.isr);
      break;
    case 11:
      ioapic_write(0x10 + arguments % 24 * 2, arguments >> 8 & 1 ? 0x10000 : 0x30 + arguments % 8);
      break;
  }
}

static void race(void *unused) {
  (void)unused;
  u64 seed = base_seed * 0x9e3779b97f4a7c15 + this_cpu()->index * 0xbf58476d1ce4e5b9 + 1;
  while (now_ns() < deadline_ns) {
    u64 random = xorshift(&seed);
    abuse(&devices[(random >> 40) % device_count], random);
    __atomic_add_fetch(&operations, 1, __ATOMIC_RELAXED);
  }
}

static void expect_service(struct shared_device *shared) {
  if (shared->type == VIRTIO_CONSOLE) return;
  virtio_negotiate(&shared->device, 0);
  struct virtqueue *queue = &shared->queues[0];
  memset((void *)queue->avail, 0, 6 + 2 * RING);
  memset((void *)queue->used, 0, 6 + 8 * RING);
  queue->next_avail = queue->published = queue->last_used = 0;
  virtio_queue_program(queue);
  virtio_driver_ok(&shared->device);
  status = BLK_NO_ANSWER;
  feed(shared, 0, 0);
  u64 deadline = now_ns() + 10000000000;
  while (queue->used[1] == 0)
    if (now_ns() > deadline) fail("device %u gives no service after the race: %x", shared->type, virtio_status(&shared->device));
  if (shared->type == VIRTIO_BLOCK) expect(status == BLK_OK, "a read after the race ends with %u", status);
}

void payload(void) {
  static const u16 types[] = {VIRTIO_BLOCK, VIRTIO_CONSOLE, VIRTIO_RNG};
  u32 processors = start_processors(param_number("cpus", 2));
  base_seed = param_number("seed", 1);
  data = allocate(65536, 4096);
  header = (struct blk_header){BLK_IN, 0, 0};
  for (u32 i = 0; i < 3; i++) {
    struct shared_device *shared = &devices[device_count];
    if (!virtio_open(&shared->device, types[i], 0)) continue;
    shared->type = types[i];
    shared->queue_count = types[i] == VIRTIO_CONSOLE ? 2 : 1;
    shared->bar_home = pci_bar(shared->device.function, 0).address;
    shared->bar_away = shared->bar_home - (64 << 20);
    map_range(shared->bar_away, 0x80000);
    virtio_negotiate(&shared->device, 0);
    prepare(shared);
    for (u32 entry = 0; entry < shared->device.msix_entries; entry++)
      msix_program(&shared->device, entry, 0x38, false);
    device_count++;
  }
  if (device_count == 0) fail("no virtio device");
  deadline_ns = now_ns() + param_number("seconds", 3) * 1000000000;
  run_on_all(processors, race, NULL);

  for (u32 pin = 0; pin < 24; pin++) ioapic_write(0x10 + pin * 2, 0x10000);
  for (u32 i = 0; i < device_count; i++) {
    pci_write16(devices[i].device.function, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_set_bar(devices[i].device.function, 0, devices[i].bar_home);
    msix_enable(&devices[i].device, false, false);
    expect_service(&devices[i]);
    virtio_reset(&devices[i].device);
  }
  print("RESULT cpus=%u devices=%u operations=%lu interrupts=%lu\n", processors, device_count, operations,
        interrupt_count(0x38));
}
