// Every register of every device, at every width and at every offset, read and written with what a random generator
// says; then each device is put back into order and must work. Only writes that end the machine on purpose are spared.
// Parameters: rounds (of random accesses per region), seed, eject=1 (last of all, the hotplug registers too).
#include "runtime/block.h"

static u64 seed, accesses, rounds;

static u64 next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static u64 interesting(void) {
  static const u64 values[] = {0, 1, 2, 3, 4, 7, 8, 0xf, 0x10, 0x40, 0x7f, 0x80, 0xff, 0xffff, 0x8000, ~0ull};
  u64 pick = next_random();
  return pick & 1 ? values[pick >> 1 & 15] : next_random();
}

// ---- ports

static bool ends_the_machine(u16 port, u32 width, u32 value) {
  for (u32 i = 0; i < width; i++, value >>= 8) {
    u16 at = port + i;
    u8 byte = value;
    if (at == 0x600 && (byte == 0x01 || byte == 0x34)) return true;
    if (at == 0x64 && byte == 0xfe) return true;
    // Index 8f and data 00 together reset: the index is never written with that value.
    if (at == 0x70 && byte == 0x8f) return true;
  }
  return false;
}

static u32 printable(u32 value) { return (value & 0x1f1f1f1f) | 0x40404040; }

static void access_port(u16 port, u32 operation, u32 value) {
  static u8 bytes[64];
  u32 width = 1 << operation % 3;
  accesses++;
  if (port == 0x3f8 || port == 0x402 || port == 0xe9) value = printable(value);
  bool write = operation / 3 & 1;
  bool string = operation / 6 & 1;
  if (write && ends_the_machine(port, width, value)) return;
  if (string) {
    // One instruction, many transfers: the exit carries a count above 1.
    void *at = bytes;
    u64 count = 1 + value % (sizeof bytes / 4);
    memset(bytes, port == 0x600 || port == 0x64 || port == 0x70 ? 0 : 0x55, sizeof bytes);
    if (write && width == 1) __asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(port) : "memory");
    if (write && width == 2) __asm__ volatile("rep outsw" : "+S"(at), "+c"(count) : "d"(port) : "memory");
    if (write && width == 4) __asm__ volatile("rep outsl" : "+S"(at), "+c"(count) : "d"(port) : "memory");
    if (!write && width == 1) __asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port) : "memory");
    if (!write && width == 2) __asm__ volatile("rep insw" : "+D"(at), "+c"(count) : "d"(port) : "memory");
    if (!write && width == 4) __asm__ volatile("rep insl" : "+D"(at), "+c"(count) : "d"(port) : "memory");
  } else if (write) {
    if (width == 1) out8(port, value);
    if (width == 2) out16(port, value);
    if (width == 4) out32(port, value);
  } else {
    if (width == 1) (void)in8(port);
    if (width == 2) (void)in16(port);
    if (width == 4) (void)in32(port);
  }
}

static const struct {
  u16 first, last;
} port_ranges[] = {{0x60, 0x65},   {0x70, 0x72},   {0x7f, 0x81},   {0xe8, 0xea},   {0x3f5, 0x400},
                   {0x401, 0x403}, {0x50f, 0x51c}, {0x5ff, 0x612}, {0xcf5, 0xd00}};

static void ports(void) {
  for (u32 r = 0; r < sizeof port_ranges / sizeof port_ranges[0]; r++) {
    u16 first = port_ranges[r].first, count = port_ranges[r].last - first + 1;
    for (u16 port = first; port < first + count; port++)
      for (u32 operation = 0; operation < 12; operation++) access_port(port, operation, interesting());
    for (u64 i = 0; i < rounds; i++) access_port(first + next_random() % count, next_random() % 12, interesting());
  }
  // The serial port back to how it was; a waiting transmit interrupt goes nowhere, since every pin is masked.
  out8(0x3fb, 0x80);
  out8(0x3f8, 12);
  out8(0x3f9, 0);
  out8(0x3fb, 3);
  out8(0x3f9, 0);
  out8(0x3fc, 8);
  for (u32 i = 0; i < 80; i++) (void)in8(0x3f8);
  print("\n");
  out8(0x3ff, 0x5c);
  expect(in8(0x3ff) == 0x5c, "the scratch register reads %x", in8(0x3ff));
  out8(0x70, 0x0d);
  expect(in8(0x71) == 0x80, "CMOS register 0d reads %x", in8(0x71));
  u32 before = in32(0x608);
  spin_ns(1000000);
  expect(in32(0x608) != before, "the PM timer stands still");
}

// ---- memory

static void access_memory(u64 address, u32 operation, u64 value) {
  accesses++;
  switch (operation % 8) {
    case 0:
      (void)read8(address);
      break;
    case 1:
      (void)read16(address);
      break;
    case 2:
      (void)read32(address);
      break;
    case 3:
      (void)read64(address);
      break;
    case 4:
      write8(address, value);
      break;
    case 5:
      write16(address, value);
      break;
    case 6:
      write32(address, value);
      break;
    case 7:
      write64(address, value);
      break;
  }
}

static void region(u64 address, u32 every, u32 size, bool writes) {
  for (u32 offset = 0; offset < every; offset++)
    for (u32 operation = 0; operation < (writes ? 8 : 4); operation++)
      access_memory(address + offset, operation, interesting());
  for (u64 i = 0; i < rounds; i++)
    access_memory(address + next_random() % (size - 8), next_random() % (writes ? 8 : 4), interesting());
}

static void ioapic(void) {
  region(0xfec00000, 0x48, 0x1000, true);
  for (u32 pin = 0; pin < 24; pin++) {
    ioapic_write(0x10 + pin * 2, 0x10000);
    ioapic_write(0x11 + pin * 2, 0);
    u32 low = ioapic_read(0x10 + pin * 2);
    expect((low & ~0x5000u) == 0x10000, "IOAPIC pin %u reads %x", pin, low);
  }
  expect((ioapic_read(1) & 0xff00ff) == 0x170011, "IOAPIC version %x", ioapic_read(1));
}

static void acpi_regions(bool writes) {
  static const char *names[] = {"GDST", "PRST", "PCST", "MHPR"};
  for (u32 i = 0; i < sizeof names / sizeof names[0]; i++) {
    u64 address = acpi_region(names[i]);
    if (address) region(address, 0x20, 0x1000, writes);
  }
}

// ---- PCI

static void access_config(pci_function function, u32 offset, u32 operation, u64 value) {
  u64 ecam = pci_ecam(function);
  if (operation & 8 || !ecam) {
    accesses++;
    out32(0xcf8, 0x80000000 | function << 8 | (offset & 0xfc));
    access_port(0xcfc + (offset & 3), operation % 6, value);
  } else {
    access_memory(ecam + offset, operation, value);
  }
}

static void put_back(pci_function function, const u32 *saved) {
  pci_write16(function, PCI_COMMAND, 0);
  for (u32 at = PCI_BAR0; at < 0x28; at += 4) pci_write32(function, at, saved[at / 4]);
  pci_write32(function, PCI_CACHE_LINE, saved[PCI_CACHE_LINE / 4]);
  pci_write32(function, PCI_INTERRUPT_LINE, saved[PCI_INTERRUPT_LINE / 4]);
  pci_write16(function, PCI_COMMAND, saved[PCI_COMMAND / 4]);
}

static void function_registers(pci_function function) {
  u32 saved[64];
  for (u32 i = 0; i < 64; i++) saved[i] = pci_read32(function, i * 4);
  for (u32 offset = 0; offset < 0x100; offset++)
    for (u32 operation = 0; operation < 14; operation++) access_config(function, offset, operation, interesting());
  for (u64 i = 0; i < rounds; i++)
    access_config(function, next_random() % (pci_ecam(function) ? 0xff8 : 0xf8), next_random() % 14, interesting());
  put_back(function, saved);
  for (u32 at = 0; at < 0x40; at += 4) {
    u32 now = pci_read32(function, at);
    expect(now == saved[at / 4], "function %x register %x reads %x, not %x", function, at, now, saved[at / 4]);
  }
}

static void empty_slots(void) {
  for (pci_function function = 0; function < 256; function++) {
    if (pci_read32(function & ~7u, PCI_ID) != 0xffffffff) continue;
    expect(pci_read32(function, PCI_ID) == 0xffffffff, "empty function %x reads %x", function,
           pci_read32(function, PCI_ID));
    pci_write32(function, PCI_BAR0, interesting());
  }
}

// ---- virtio registers

static void virtio_registers(struct virtio_device *device) {
  region(device->common, 0x48, 0x1000, true);
  region(device->isr, 8, 0x1000, true);
  if (device->config) region(device->config, 0x50, 0x1000, true);
  region(device->notify, 16, 0x1000, true);
  // A random message would reset or stop this processor itself: entries get a fixed-mode vector that has a handler.
  virtio_reset(device);
  for (u64 i = 0; i < rounds; i++) {
    u64 entry = device->msix_table + next_random() % (device->msix_entries + 2) * 16;
    u32 field = next_random() % 4;
    access_memory(entry + field * 4 + next_random() % 3, next_random() % 4, 0);
    if (field == 0) write32(entry, 0xfee00000 | lapic_id() << 12 | (next_random() & 0xc));
    if (field == 1) write32(entry + 4, 0);
    if (field == 2) write32(entry + 8, FIRST_FREE_VECTOR + next_random() % (VECTORS - FIRST_FREE_VECTOR));
    if (field == 3) access_memory(entry + 12, 4 + next_random() % 3, next_random());
    if (next_random() % 16 == 0) msix_enable(device, next_random() & 1, next_random() & 1);
  }
  region(device->msix_pba, 16, 0x800, true);
  // The window through configuration space: any BAR, offset and length, data of any width.
  for (u64 i = 0; i < rounds && device->config_window; i++) {
    u32 at = device->config_window;
    pci_write8(device->function, at + 4, next_random() & 1 ? 0 : next_random());
    pci_write32(device->function, at + 8, next_random() % 4 ? next_random() % 0x8000 : next_random());
    pci_write32(device->function, at + 12, next_random() % 4 ? 1u << next_random() % 3 : next_random());
    access_config(device->function, at + 16 + next_random() % 4, next_random() % 14, interesting());
  }
  virtio_reset(device);
  msix_enable(device, false, false);
  for (u32 entry = 0; entry < device->msix_entries; entry++) {
    msix_mask(device, entry, true);
    write64(device->msix_table + entry * 16, 0);
  }
}

void payload(void) {
  static struct blk blk;
  static u8 sector[512];
  seed = param_number("seed", 0x9e3779b97f4a7c15);
  if (seed == 0) fail("seed must not be 0");
  rounds = param_number("rounds", 1000);
  lapic_enable();
  ports();
  print("ports done: %lu accesses\n", accesses);
  ioapic();
  acpi_regions(false);
  for (pci_function function = 0; function < 256; function += 8)
    if (pci_read32(function, PCI_ID) != 0xffffffff) function_registers(function);
  empty_slots();
  print("PCI done: %lu accesses\n", accesses);
  u32 devices = 0;
  for (pci_function function = 0; function < 256; function += 8) {
    struct virtio_device device;
    u32 id = pci_read32(function, PCI_ID);
    if (id >> 22 != 0x1040 >> 6 || (id & 0xffff) != 0x1af4 || !virtio_open(&device, (id >> 16) - 0x1040, 0)) continue;
    virtio_registers(&device);
    devices++;
  }
  print("virtio done: %lu accesses\n", accesses);
  // Unused places between and beyond the devices.
  static const u64 nothing[] = {0xc0000000, 0xe7000000, 0xf8004000, 0xfec10000, 0xfed40000, 0xff000000, 0xfffff000};
  for (u32 i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
    region(nothing[i], 2, 0x1000, true);
    expect(read32(nothing[i]) == 0xffffffff, "%lx reads %x", nothing[i], read32(nothing[i]));
  }
  if (pci_find(0x1af4, 0x1042, 0) != PCI_NONE) {
    blk_open(&blk, 0, 0);
    expect(blk_read(&blk, 8, sector, 512) == BLK_OK, "a read after all this");
  }
  if (param_number("eject", 0)) acpi_regions(true);
  print("RESULT devices=%u accesses=%lu interrupts=%lu\n", devices, accesses, interrupt_count(FIRST_FREE_VECTOR));
}
