// MSI-X of a block device: delivery, mask and unmask of entry and function with the pending bit, vectors changed while
// masked, no vector, interrupt suppression by event index, another destination processor. Parameters: dev, cpus.
#include "runtime/block.h"

#define FIRST 0x30
#define SECOND 0x31
#define PATIENCE_NS 5000000000
// Long enough that a wrongly sent interrupt has arrived.
#define SILENCE_NS 30000000

static struct blk blk;
static u8 sector[512];

static void request(void) { expect(blk_read(&blk, 8, sector, 512) == BLK_OK, "a read failed"); }

static void expect_interrupt(u8 vector, u64 seen, const char *what) {
  if (interrupt_count(vector) == seen) wait_for_interrupt_ns(vector, seen, PATIENCE_NS);
  u64 got = interrupt_count(vector) - seen;
  expect(got == 1, "%s: %lu interrupts on vector %x", what, got, vector);
}

static void expect_silence(u8 vector, u64 seen, const char *what) {
  spin_ns(SILENCE_NS);
  expect(interrupt_count(vector) == seen, "%s: vector %x came", what, vector);
}

static void set_queue_vector(u16 vector) {
  write16(blk.device.common + COMMON_QUEUE_SELECT, 0);
  write16(blk.device.common + COMMON_QUEUE_VECTOR, vector);
  expect(read16(blk.device.common + COMMON_QUEUE_VECTOR) == vector, "queue vector reads back otherwise");
}

static void reopen(u64 features, u16 vector) {
  virtio_negotiate(&blk.device, features);
  virtio_queue_restart(&blk.queue);
  set_queue_vector(vector);
  virtio_driver_ok(&blk.device);
}

void payload(void) {
  struct virtio_device *device = &blk.device;
  u32 processors = start_processors(param_number("cpus", 1));
  blk_open(&blk, param_number("dev", 0), 0);
  if (!device->msix_capability) fail("no MSI-X capability");
  print("%u entries\n", device->msix_entries);
  expect(device->msix_entries >= 2, "%u MSI-X entries", device->msix_entries);
  for (u32 i = 0; i < device->msix_entries; i++)
    expect(read32(device->msix_table + i * 16 + 12) & 1, "entry %u is not masked at boot", i);
  u64 first = interrupt_count(FIRST), second = interrupt_count(SECOND);

  msix_program(device, 1, FIRST, false);
  msix_enable(device, true, false);
  reopen(0, 1);
  for (u32 i = 0; i < 20; i++) {
    first = interrupt_count(FIRST);
    request();
    expect_interrupt(FIRST, first, "delivery");
  }

  first = interrupt_count(FIRST);
  msix_mask(device, 1, true);
  request();
  expect_silence(FIRST, first, "entry masked");
  expect(msix_pending(device, 1), "no pending bit while the entry is masked");
  msix_mask(device, 1, false);
  expect_interrupt(FIRST, first, "entry unmasked");
  expect(!msix_pending(device, 1), "the pending bit stays after delivery");

  first = interrupt_count(FIRST);
  msix_enable(device, true, true);
  request();
  expect_silence(FIRST, first, "function masked");
  expect(msix_pending(device, 1), "no pending bit while the function is masked");
  msix_enable(device, true, false);
  expect_interrupt(FIRST, first, "function unmasked");
  expect(!msix_pending(device, 1), "the pending bit stays after delivery");

  first = interrupt_count(FIRST);
  msix_mask(device, 1, true);
  request();
  write32(device->msix_table + 16 + 8, SECOND);
  msix_mask(device, 1, false);
  expect_interrupt(SECOND, second, "vector changed while masked");
  expect(interrupt_count(FIRST) == first, "the old vector came");

  // QEMU on KVM takes up a change of an unmasked entry only at the next unmask, which PCI allows.
  bool on_qemu = param_is("exit", "qemu");
  if (on_qemu) msix_mask(device, 1, true);
  second = interrupt_count(SECOND);
  write32(device->msix_table + 16 + 8, FIRST);
  if (on_qemu) msix_mask(device, 1, false);
  request();
  expect_interrupt(FIRST, first, "vector changed while unmasked");
  expect(interrupt_count(SECOND) == second, "the old vector came");

  first = interrupt_count(FIRST);
  reopen(0, NO_VECTOR);
  request();
  expect_silence(FIRST, first, "no vector");

  msix_program(device, 0, SECOND, false);
  second = interrupt_count(SECOND);
  reopen(0, 0);
  request();
  expect_interrupt(SECOND, second, "entry 0");

  reopen(FEATURE_EVENT_IDX, 1);
  if (device->features & FEATURE_EVENT_IDX) {
    // The first completion after a reset may always interrupt; after it, used_event says when.
    blk.queue.event_idx = false;
    first = interrupt_count(FIRST);
    request();
    expect_interrupt(FIRST, first, "used_event 0");
    first = interrupt_count(FIRST);
    blk.queue.avail[2 + blk.queue.size] = 5;
    for (u32 i = 0; i < 4; i++) request();
    expect_silence(FIRST, first, "used_event not reached");
    request();
    expect_interrupt(FIRST, first, "used_event reached");
    blk.queue.event_idx = true;
  }

  reopen(0, 1);
  if (processors > 1) {
    msix_mask(device, 1, true);
    write32(device->msix_table + 16, 0xfee00000 | cpu_at(1)->apic_id << 12);
    msix_mask(device, 1, false);
    first = interrupt_count(FIRST);
    request();
    u64 deadline = now_ns() + PATIENCE_NS;
    while (interrupt_count(FIRST) == first && now_ns() < deadline) cpu_relax();
    expect(interrupt_count(FIRST) == first + 1, "delivery to another processor: %lu interrupts",
           interrupt_count(FIRST) - first);
  }
  first = interrupt_count(FIRST);
  msix_enable(device, false, false);
  request();
  expect_silence(FIRST, first, "MSI-X off");
  virtio_reset(device);
  print("RESULT first=%lu second=%lu\n", interrupt_count(FIRST), interrupt_count(SECOND));
}
