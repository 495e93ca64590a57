// A disk whose size changes under its driver: waits for the interrupt that says so, reads the new capacity, and does I/O on
// both sides of the end. Prints SIZE and the sectors, at first and after each change. Parameter: changes.
#include "runtime/block.h"

#define VECTOR 0x30
#define PATIENCE_NS 30000000000

static struct blk blk;
static u8 sector[512];

static u64 capacity(void) {
  u8 before;
  u64 sectors;
  do {
    before = read8(blk.device.common + COMMON_GENERATION);
    sectors = read32(blk.device.config) | (u64)read32(blk.device.config + 4) << 32;
  } while (read8(blk.device.common + COMMON_GENERATION) != before);
  return sectors;
}

static void check(u64 sectors) {
  expect(blk_read(&blk, sectors - 1, sector, 512) == BLK_OK, "the last of %lu sectors cannot be read", sectors);
  memset(sector, 0x5a, 512);
  expect(blk_write(&blk, sectors - 1, sector, 512) == BLK_OK, "the last of %lu sectors cannot be written", sectors);
  expect(blk_read(&blk, sectors, sector, 512) == BLK_IOERR, "a read behind %lu sectors is no error", sectors);
  expect(blk_write(&blk, sectors, sector, 512) == BLK_IOERR, "a write behind %lu sectors is no error", sectors);
}

void payload(void) {
  struct virtio_device *device = &blk.device;
  lapic_enable();
  blk_open(&blk, 0, 0);
  msix_program(device, 0, VECTOR, false);
  msix_enable(device, true, false);
  virtio_negotiate(device, 0);
  write16(device->common + COMMON_CONFIG_VECTOR, 0);
  virtio_queue_restart(&blk.queue);
  virtio_driver_ok(device);
  u64 sectors = capacity(), changes = param_number("changes", 1);
  check(sectors);
  for (u64 i = 0; i < changes; i++) {
    u64 seen = interrupt_count(VECTOR);
    print("SIZE %lu\n", sectors);
    while (capacity() == sectors)
      if (!wait_for_interrupt_ns(VECTOR, seen, PATIENCE_NS)) fail("no interrupt within 30 s");
    sectors = capacity();
    expect(interrupt_count(VECTOR) > seen, "the capacity changed without an interrupt");
    check(sectors);
  }
  print("SIZE %lu\n", sectors);
}
