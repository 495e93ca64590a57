// Puts known values into every register that a machine must carry when it moves, and goes on after the move: prints READY,
// waits for the sign (a byte on the serial port, or a nonzero dword at guest address 4ff0), then verifies everything and does I/O
// on the queues as they are. Parameters: moves, wait=serial|ram, blk=0 or rng=0 to leave a device out.
#include "runtime/block.h"

#define RAM_FLAG 0x4ff0
#define VECTOR 0x30
#define CMOS_FIRST 0x40
#define CMOS_LAST 0x57

static struct blk blk;
static struct virtio_device rng;
static struct virtqueue rng_queue;
static u8 wanted[4096], got[4096], noise[64];
static bool use_blk, use_rng;
static u64 rng_bar;
static u32 round;

static u8 cmos_value(u32 index) { return index * 3 + round; }

static void set_serial(void) {
  out8(0x3fb, 0x83);  // DLAB
  out8(0x3f8, 0x34);
  out8(0x3f9, 0x12);
  out8(0x3fb, 0x1b);  // 8 bits, even parity
  out8(0x3f9, 0x05);  // interrupts on input and on line status; pin 4 is masked
  out8(0x3fc, 0x0b);
  out8(0x3ff, 0xa5 + round);
}

static void check_serial(void) {
  u8 lcr = in8(0x3fb), mcr = in8(0x3fc), ier = in8(0x3f9), scratch = in8(0x3ff);
  out8(0x3fb, 0x9b);
  u8 low = in8(0x3f8), high = in8(0x3f9);
  out8(0x3fb, lcr);
  expect(lcr == 0x1b, "serial LCR %x", lcr);
  expect(mcr == 0x0b, "serial MCR %x", mcr);
  expect(ier == 0x05, "serial IER %x", ier);
  expect(scratch == (u8)(0xa5 + round), "serial scratch %x", scratch);
  expect(low == 0x34 && high == 0x12, "serial divisor %x %x", high, low);
}

static void set_cmos(void) {
  for (u32 i = CMOS_FIRST; i <= CMOS_LAST; i++) out8(0x70, i), out8(0x71, cmos_value(i));
  out8(0x70, 0xd5);  // the index register itself, with bit 7
}

static void check_cmos(void) {
  expect(in8(0x70) == 0xd5, "CMOS index %x", in8(0x70));
  for (u32 i = CMOS_FIRST; i <= CMOS_LAST; i++) {
    out8(0x70, i);
    u8 value = in8(0x71);
    expect(value == cmos_value(i), "CMOS %x is %x, not %x", i, value, cmos_value(i));
  }
}

// Pins 14 and up are wired to nothing, so they may stand unmasked.
static u32 pin_low(u32 pin) { return (pin >= 14 && pin & 1 ? 0 : 0x10000) | (0x20 + (pin + round) % 32); }
static u32 pin_high(u32 pin) { return ((pin * 5 + round) & 0xff) << 24; }

static void set_ioapic(void) {
  for (u32 pin = 0; pin < 24; pin++) {
    ioapic_write(0x10 + pin * 2, 0x10000);
    ioapic_write(0x11 + pin * 2, pin_high(pin));
    ioapic_write(0x10 + pin * 2, pin_low(pin));
  }
  ioapic_write(0, 0x07000000);
  write32(0xfec00000, 0x13);  // the selector stays on the high dword of pin 1
}

static void check_ioapic(void) {
  u32 value = read32(0xfec00010);
  expect(value == pin_high(1), "IOAPIC register under the old selector is %x", value);
  expect(ioapic_read(0) == 0x07000000, "IOAPIC ID %x", ioapic_read(0));
  for (u32 pin = 0; pin < 24; pin++) {
    u32 low = ioapic_read(0x10 + pin * 2), high = ioapic_read(0x11 + pin * 2);
    expect(low == pin_low(pin) && high == pin_high(pin), "IOAPIC pin %u is %x:%x, not %x:%x", pin, high, low,
           pin_high(pin), pin_low(pin));
  }
}

static void set_pci(void) {
  if (use_rng) {
    pci_write8(rng.function, PCI_CACHE_LINE, 0x10 + round);
    pci_write8(rng.function, PCI_INTERRUPT_LINE, 0x20 + round);
  }
  out32(0xcf8, 0x80001234 | round << 16);
}

static void check_pci(void) {
  expect(in32(0xcf8) == (0x80001234 | round << 16), "CONFIG_ADDRESS %x", in32(0xcf8));
  if (!use_rng) return;
  expect(pci_read8(rng.function, PCI_CACHE_LINE) == 0x10 + round, "cache line %x",
         pci_read8(rng.function, PCI_CACHE_LINE));
  expect(pci_read8(rng.function, PCI_INTERRUPT_LINE) == 0x20 + round, "interrupt line %x",
         pci_read8(rng.function, PCI_INTERRUPT_LINE));
  u64 bar = (u64)pci_read32(rng.function, PCI_BAR0 + 4) << 32 | (pci_read32(rng.function, PCI_BAR0) & ~15u);
  expect(bar == rng_bar, "rng BAR %lx, not %lx", bar, rng_bar);
  expect((pci_read16(rng.function, PCI_COMMAND) & 7) == (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), "command %x",
         pci_read16(rng.function, PCI_COMMAND));
}

// The rng's BAR goes 64 MiB down, where nothing is, so that the new machine must follow a move by the guest.
static void move_rng_bar(void) {
  struct pci_bar bar = pci_bar(rng.function, 0);
  if (!bar.is_64bit || bar.size != 0x80000) fail("rng BAR 0 is not the 512 KiB one");
  u64 to = bar.address - (64 << 20);
  u64 offset = to - bar.address;
  pci_write16(rng.function, PCI_COMMAND, PCI_COMMAND_MASTER);
  pci_set_bar(rng.function, 0, to);
  pci_write16(rng.function, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  map_range(to, bar.size);
  rng.common += offset, rng.notify += offset, rng.isr += offset, rng.msix_table += offset, rng.msix_pba += offset;
  rng_bar = to;
}

static void rng_request(const char *when) {
  struct buffer buffer = {noise, sizeof noise};
  memset(noise, 0, sizeof noise);
  if (virtq_add(&rng_queue, &buffer, 0, 1) < 0) fail("no free rng descriptor");
  virtq_kick(&rng_queue);
  u32 length = 0;
  if (virtq_wait(&rng_queue, &length, 10000000000) < 0) fail("no answer from the rng %s", when);
  expect(length > 0 && length <= sizeof noise, "the rng filled %u bytes %s", length, when);
}

static void blk_io(const char *when) {
  for (u32 i = 0; i < 5; i++) {
    u64 sector = 2048 + (round * 5 + i) * 8;
    for (u32 b = 0; b < sizeof wanted; b++) wanted[b] = b * 7 + i + round;
    expect(blk_write(&blk, sector, wanted, sizeof wanted) == BLK_OK, "write %s", when);
    memset(got, 0, sizeof got);
    expect(blk_read(&blk, sector, got, sizeof got) == BLK_OK, "read %s", when);
    expect(memcmp(wanted, got, sizeof wanted) == 0, "data %s", when);
  }
}

// A completion while the vector is masked leaves a pending bit, which must survive and fire on the other side.
static void leave_pending(void) {
  if (!use_blk) return;
  msix_mask(&blk.device, 1, true);
  blk_io("with the vector masked");
  u64 deadline = now_ns() + 5000000000;
  while (!msix_pending(&blk.device, 1) && now_ns() < deadline) cpu_relax();
  expect(msix_pending(&blk.device, 1), "no pending bit before the move");
  // Selectors away from their defaults.
  write32(blk.device.common + COMMON_DEVICE_FEATURE_SELECT, 1);
  write32(blk.device.common + COMMON_DRIVER_FEATURE_SELECT, 1);
  write16(blk.device.common + COMMON_QUEUE_SELECT, 0);
}

static void check_blk(u64 seen) {
  if (!use_blk) return;
  u64 common = blk.device.common;
  expect(virtio_status(&blk.device) == 0xf, "device status %x", virtio_status(&blk.device));
  expect(read32(common + COMMON_DEVICE_FEATURE_SELECT) == 1, "device feature selector");
  expect(read32(common + COMMON_DRIVER_FEATURE_SELECT) == 1, "driver feature selector");
  expect(read16(common + COMMON_QUEUE_SIZE) == blk.queue.size, "queue size %u", read16(common + COMMON_QUEUE_SIZE));
  expect(read16(common + COMMON_QUEUE_ENABLE) == 1, "the queue is not enabled");
  expect(read16(common + COMMON_QUEUE_VECTOR) == 1, "queue vector %x", read16(common + COMMON_QUEUE_VECTOR));
  expect(read32(blk.device.msix_table + 16 + 8) == VECTOR, "vector in the table %x",
         read32(blk.device.msix_table + 16 + 8));
  expect(msix_pending(&blk.device, 1), "the pending bit is lost");
  expect((pci_read16(blk.device.function, blk.device.msix_capability + 2) & 0xc000) == 0x8000, "MSI-X control %x",
         pci_read16(blk.device.function, blk.device.msix_capability + 2));
  msix_mask(&blk.device, 1, false);
  if (interrupt_count(VECTOR) == seen) wait_for_interrupt_ns(VECTOR, seen, 5000000000);
  expect(interrupt_count(VECTOR) == seen + 1, "%lu interrupts at the unmask", interrupt_count(VECTOR) - seen);
  blk_io("after the move");
}

static void wait_for_sign(void) {
  bool ram = param_is("wait", "ram");
  u64 deadline = now_ns() + 60000000000;
  for (;;) {
    if (ram ? read32(RAM_FLAG) != 0 : serial_poll() >= 0) break;
    if (now_ns() > deadline) fail("no sign of a move within 60 s");
    spin_ns(1000000);
  }
  write32(RAM_FLAG, 0);
}

void payload(void) {
  u64 moves = param_number("moves", 1);
  lapic_enable();
  use_blk = param_number("blk", 1) && pci_find(0x1af4, 0x1042, 0) != PCI_NONE;
  use_rng = param_number("rng", 1) && pci_find(0x1af4, 0x1044, 0) != PCI_NONE;
  if (use_blk) {
    blk_open(&blk, 0, FEATURE_INDIRECT_DESC);
    msix_program(&blk.device, 1, VECTOR, false);
    msix_enable(&blk.device, true, false);
    virtio_negotiate(&blk.device, FEATURE_INDIRECT_DESC);
    virtio_queue_restart(&blk.queue);
    write16(blk.device.common + COMMON_QUEUE_SELECT, 0);
    write16(blk.device.common + COMMON_QUEUE_VECTOR, 1);
    virtio_driver_ok(&blk.device);
    blk_io("before the move");
  }
  if (use_rng) {
    if (!virtio_open(&rng, VIRTIO_RNG, 0)) fail("no rng");
    move_rng_bar();
    virtio_negotiate(&rng, 0);
    virtio_queue_init(&rng_queue, &rng, 0, 0);
    virtio_driver_ok(&rng);
    rng_request("before the move");
  }
  for (round = 0; round < moves; round++) {
    leave_pending();
    set_serial();
    set_cmos();
    set_ioapic();
    set_pci();
    u64 seen = interrupt_count(VECTOR);
    u32 timer = in32(0x608);
    print("READY\n");
    wait_for_sign();
    check_serial();
    check_cmos();
    check_ioapic();
    check_pci();
    check_blk(seen);
    if (use_rng) rng_request("after the move");
    spin_ns(1000000);
    expect(in32(0x608) != timer, "the PM timer stands still");
    print("MOVED %u\n", round);
  }
  print("RESULT moves=%lu blk=%u rng=%u\n", moves, use_blk, use_rng);
}
