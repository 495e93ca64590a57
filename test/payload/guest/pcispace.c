// PCI configuration space and virtio-pci's registers, against the machine's description. Parameters: order (the virtio
// types in slots 1, 2, ... as digits, e.g. 324 for console, block, rng).
#include "runtime/virtio.h"

static void is(u64 value, u64 wanted, const char *what, pci_function function) {
  expect(value == wanted, "slot %u: %s is %lx, not %lx", function >> 3, what, value, wanted);
}

static u32 by_port(u32 address, u32 offset) {
  out32(0xcf8, address);
  return in32(0xcfc + offset);
}

static void host_bridge(void) {
  is(pci_read32(0, PCI_ID), 0x0d578086, "the host bridge's ID", 0);
  is(pci_read32(0, PCI_CLASS), 0x06000000, "the host bridge's class", 0);
  is(pci_read32(0, PCI_CACHE_LINE) >> 16 & 0xff, 0, "the host bridge's header type", 0);
  for (u32 at = PCI_BAR0; at < 0x28; at += 4) {
    pci_write32(0, at, 0xffffffff);
    is(pci_read32(0, at), 0, "a BAR of the host bridge", 0);
  }
}

static void access_ways(void) {
  out32(0xcf8, 0x80000000);
  is(in32(0xcf8), 0x80000000, "CONFIG_ADDRESS", 0);
  is(by_port(0x80000000, 0), 0x0d578086, "the ID by ports", 0);
  out32(0xcf8, 0x80000000);
  is(in8(0xcfc), 0x86, "a byte by ports", 0);
  is(in8(0xcfd), 0x80, "a byte by ports", 0);
  is(in16(0xcfe), 0x0d57, "a word by ports", 0);
  is(by_port(0x00000000, 0), 0xffffffff, "the data with the enable bit off", 0);
  is(by_port(0x80010000, 0), 0xffffffff, "bus 1", 0);
  is(by_port(0x80000100, 0), 0xffffffff, "function 1 by ports", 0);
  is(by_port(0x8000f800, 0), 0xffffffff, "the empty slot 31", 0);
  u64 ecam = pci_ecam(0);
  is(ecam, 0xe8000000, "the ECAM address", 0);
  is(read8(ecam + 1), 0x80, "a byte by ECAM", 0);
  is(read16(ecam + 2), 0x0d57, "a word by ECAM", 0);
  is(read64(ecam), ~0ull, "eight bytes by ECAM", 0);
  is(read32(ecam + (31 << 15)), 0xffffffff, "the empty slot 31", 31 << 3);
  is(read32(ecam + (1 << 12)), 0x0d578086, "function 1 by ECAM", 0);
  map_range(ecam, 2 << 20);
  is(read32(ecam + (1 << 20)), 0xffffffff, "bus 1 by ECAM", 0);
}

static void identity(pci_function f, u32 type) {
  is(pci_read32(f, PCI_ID), 0x10401af4 + (type << 16), "the ID", f);
  is(pci_read32(f, PCI_SUBSYSTEM), 0x10401af4 + (type << 16), "the subsystem", f);
  u32 class = type == VIRTIO_NET ? 0x02000001 : type == VIRTIO_BLOCK ? 0x01800001 : 0xffff0001;
  is(pci_read32(f, PCI_CLASS), class, "the class and revision", f);
  is(pci_read16(f, PCI_COMMAND), 0, "the command register", f);
  is(pci_read16(f, PCI_STATUS) & 0x10, 0x10, "the capability bit", f);
  is(pci_read32(f, PCI_INTERRUPT_LINE) >> 8, 0, "the interrupt pin", f);
  is(pci_read8(f, PCI_CAPABILITIES), 0x40, "the first capability", f);
  u16 status = pci_read16(f, PCI_STATUS);
  pci_write32(f, PCI_ID, 0), pci_write32(f, PCI_CLASS, 0), pci_write16(f, PCI_STATUS, 0xffff);
  is(pci_read32(f, PCI_ID), 0x10401af4 + (type << 16), "the ID after a write", f);
  is(pci_read32(f, PCI_CLASS), class, "the class after a write", f);
  is(pci_read16(f, PCI_STATUS), status, "the status after a write", f);
  pci_write16(f, PCI_COMMAND, 0xffff);
  is(pci_read16(f, PCI_COMMAND), 0xffff, "the command register as written", f);
  pci_write16(f, PCI_COMMAND, 0);
}

static void capabilities(pci_function f, bool has_config) {
  static const struct {
    u8 type, length;
    u32 offset, size;
  } all[] = {{1, 16, 0, 56}, {3, 16, 0x2000, 1}, {4, 16, 0x4000, 0x1000}, {2, 20, 0x6000, 0x1000}, {5, 20, 0, 0}};
  u32 at = 0x40;
  for (u32 i = 0; i < 5; i++) {
    if (all[i].type == 4 && !has_config) continue;
    u32 head = pci_read32(f, at);
    is(head & 0xff, PCI_CAPABILITY_VENDOR, "a capability's ID", f);
    is(head >> 16 & 0xff, all[i].length, "a capability's length", f);
    is(head >> 24, all[i].type, "a capability's type", f);
    is(pci_read8(f, at + 4), 0, "a capability's BAR", f);
    is(pci_read32(f, at + 8), all[i].offset, "a capability's offset", f);
    is(pci_read32(f, at + 12), all[i].size, "a capability's size", f);
    if (all[i].type == 2) is(pci_read32(f, at + 16), 4, "the notify multiplier", f);
    is(head >> 8 & 0xff, at + all[i].length, "the next capability", f);
    at += all[i].length;
  }
  is(pci_read16(f, at), PCI_CAPABILITY_MSIX, "the last capability", f);
  is(pci_read32(f, at + 4), 0x8000, "the MSI-X table's place", f);
  is(pci_read32(f, at + 8), 0x48000, "the pending bits' place", f);
}

static void bar(pci_function f, u32 type) {
  struct pci_bar bar = pci_bar(f, 0);
  is(bar.size, 0x80000, "BAR 0's size", f);
  is(bar.is_64bit, type != VIRTIO_BLOCK, "BAR 0 being of 64 bits", f);
  is(bar.prefetchable, 0, "BAR 0 being prefetchable", f);
  is(bar.address % (bar.is_64bit ? 0x800000 : 0x80000), 0, "BAR 0's misalignment", f);
  if (!bar.is_64bit) expect(bar.address >= 0xc0000000 && bar.address < 0xe8000000, "BAR 0 is at %lx", bar.address);
  for (u32 i = bar.is_64bit ? 2 : 1; i < 6; i++) {
    pci_write32(f, PCI_BAR0 + i * 4, 0xffffffff);
    is(pci_read32(f, PCI_BAR0 + i * 4), 0, "another BAR", f);
  }
}

static bool alive(u64 common, u16 queues) { return read16(common + COMMON_NUM_QUEUES) == queues; }

static void moves(struct virtio_device *device) {
  pci_function f = device->function;
  u16 queues = read16(device->common + COMMON_NUM_QUEUES);
  struct pci_bar bar = pci_bar(f, 0);
  u64 old = bar.address, common = device->common - old;
  u64 to = bar.is_64bit ? old - (256 << 20) : old - (64 << 20);
  map_range(to, bar.size);
  // With decoding on, a write moves at once.
  pci_set_bar(f, 0, to);
  expect(alive(to + common, queues), "slot %u: nothing at the new place", f >> 3);
  expect(read32(old + common + COMMON_STATUS - 2) == 0xffffffff, "slot %u: still at the old place", f >> 3);
  // With decoding off, it waits for the switch.
  pci_write16(f, PCI_COMMAND, 0);
  pci_set_bar(f, 0, old);
  pci_write16(f, PCI_COMMAND, PCI_COMMAND_MEMORY);
  expect(alive(old + common, queues), "slot %u: nothing back at the old place", f >> 3);
  // What is not free, not aligned or outside the aperture is refused, and the old address is read again.
  struct pci_bar other = {0};
  for (pci_function g = 8; g < 256; g += 8)
    if (g != f && pci_read16(g, PCI_ID) == 0x1af4 && pci_bar(g, 0).is_64bit == bar.is_64bit) other = pci_bar(g, 0);
  u64 bad[] = {other.address, 0xf0000000, 0x100000, bar.is_64bit ? 0x3fffffff0000 : 0xfec00000};
  for (u32 i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (bad[i] == 0) continue;
    pci_set_bar(f, 0, bad[i] & ~0x7ffffull);
    is(pci_bar(f, 0).address, old, "BAR 0 after a refused move", f);
    expect(alive(old + common, queues), "slot %u: gone after a refused move to %lx", f >> 3, bad[i]);
  }
}

// Which widths each register of the common configuration takes (others read 0 and ignore writes).
static void widths(struct virtio_device *device) {
  u64 at = device->common;
  pci_function f = device->function;
  virtio_reset(device);
  virtio_set_status(device, STATUS_ACKNOWLEDGE);
  write32(at + COMMON_DEVICE_FEATURE_SELECT, 1);
  is(read32(at + COMMON_DEVICE_FEATURE), 1, "the high feature word", f);
  write32(at + COMMON_DEVICE_FEATURE_SELECT, 2);
  is(read32(at + COMMON_DEVICE_FEATURE), 0, "feature word 2", f);
  write16(at + COMMON_DEVICE_FEATURE_SELECT, 1);
  is(read32(at + COMMON_DEVICE_FEATURE_SELECT), 2, "a selector after a write of two bytes", f);
  is(read8(at + COMMON_DEVICE_FEATURE_SELECT), 0, "a byte of a selector", f);
  is(read64(at), 0, "eight bytes", f);
  is(read16(at + COMMON_CONFIG_VECTOR), NO_VECTOR, "the configuration vector", f);
  write16(at + COMMON_CONFIG_VECTOR, 0x1234);
  is(read16(at + COMMON_CONFIG_VECTOR), 0x1234, "any configuration vector", f);
  write16(at + COMMON_CONFIG_VECTOR, NO_VECTOR);
  u16 queues = read16(at + COMMON_NUM_QUEUES);
  is(device->msix_entries, queues + 1, "the number of MSI-X entries", f);
  for (u16 q = 0; q < queues; q++) {
    write16(at + COMMON_QUEUE_SELECT, q);
    u16 size = read16(at + COMMON_QUEUE_SIZE);
    expect(size != 0 && !(size & (size - 1)), "slot %u: queue %u has size %u", f >> 3, q, size);
    is(read16(at + COMMON_QUEUE_ENABLE), 0, "queue_enable", f);
    is(read16(at + COMMON_QUEUE_VECTOR), NO_VECTOR, "a queue's vector", f);
    is(read16(at + COMMON_QUEUE_NOTIFY_OFF), q, "queue_notify_off", f);
    write16(at + COMMON_QUEUE_SIZE, 3);
    is(read16(at + COMMON_QUEUE_SIZE), size, "a queue's size after 3", f);
    write16(at + COMMON_QUEUE_SIZE, 0);
    is(read16(at + COMMON_QUEUE_SIZE), size, "a queue's size after 0", f);
    write16(at + COMMON_QUEUE_SIZE, size * 2);
    is(read16(at + COMMON_QUEUE_SIZE), size, "a queue's size after twice as much", f);
    write16(at + COMMON_QUEUE_SIZE, size / 2);
    is(read16(at + COMMON_QUEUE_SIZE), size / 2, "half a queue's size", f);
    write32(at + COMMON_QUEUE_DESC, 0x1000);
    is(read32(at + COMMON_QUEUE_DESC), 0, "a ring address", f);
  }
  write16(at + COMMON_QUEUE_SELECT, queues);
  is(read16(at + COMMON_QUEUE_SIZE), 0, "the size of no queue", f);
  is(read16(at + COMMON_QUEUE_ENABLE), 0, "queue_enable of no queue", f);
  is(read16(at + COMMON_QUEUE_VECTOR), NO_VECTOR, "the vector of no queue", f);
  is(read8(device->isr), 0, "the ISR", f);
  virtio_reset(device);
  write16(at + COMMON_QUEUE_SELECT, 0);
  is(virtio_queue_max(device, 0), read16(at + COMMON_QUEUE_SIZE), "a queue's size after a reset", f);
  is(read16(at + COMMON_QUEUE_SELECT), 0, "the queue selector after a reset", f);
}

// Writes through the configuration access window act on the BAR.
static void window(struct virtio_device *device) {
  pci_function f = device->function;
  u32 at = device->config_window;
  if (!at) fail("slot %u has no configuration access capability", f >> 3);
  virtio_reset(device);
  pci_write32(f, at + 8, COMMON_STATUS);
  pci_write32(f, at + 12, 1);
  pci_write8(f, at + 16, STATUS_ACKNOWLEDGE);
  is(virtio_status(device), STATUS_ACKNOWLEDGE, "the status written through the window", f);
  is(pci_read8(f, at + 16), STATUS_ACKNOWLEDGE, "the status read through the window", f);
  pci_write32(f, at + 8, COMMON_NUM_QUEUES);
  pci_write32(f, at + 12, 2);
  is(pci_read16(f, at + 16), read16(device->common + COMMON_NUM_QUEUES), "num_queues through the window", f);
  pci_write32(f, at + 8, 0);
  pci_write32(f, at + 12, 0);
  virtio_reset(device);
}

void payload(void) {
  const char *order = param("order", "");
  pci_init();
  host_bridge();
  access_ways();
  u32 count = strlen(order);
  for (u32 i = 0; i < count; i++) {
    u32 type = order[i] - '0';
    pci_function f = (i + 1) << 3;
    identity(f, type);
    capabilities(f, type != VIRTIO_RNG);
    bar(f, type);
  }
  is(pci_read32((count + 1) << 3, PCI_ID), 0xffffffff, "the slot after the last", (count + 1) << 3);
  for (u32 i = 0; i < count; i++) {
    struct virtio_device device;
    u32 before = 0;
    for (u32 j = 0; j < i; j++) before += order[j] == order[i];
    if (!virtio_open(&device, order[i] - '0', before)) fail("no device of type %c", order[i]);
    is(device.function, (i + 1) << 3, "the function", device.function);
    widths(&device);
    window(&device);
    moves(&device);
  }
  print("RESULT devices=%u\n", count);
}
