#include "pci.h"

static u64 ecam_base;
static bool use_cf8;
static bool initialised;
static spinlock cf8_lock;

void pci_init(void) {
  if (initialised) return;
  initialised = true;
  const u8 *mcfg = acpi_table("MCFG");
  if (mcfg) ecam_base = read64((u64)mcfg + 44);
  if (ecam_base) map_range(ecam_base, 1 << 20);
  use_cf8 = !ecam_base || param_is("pci", "cf8");
}

u64 pci_ecam(pci_function function) {
  pci_init();
  return ecam_base ? ecam_base + ((u64)function << 12) : 0;
}

u32 pci_read(pci_function function, u32 offset, u32 bytes) {
  pci_init();
  if (use_cf8) {
    spin_lock(&cf8_lock);
    out32(0xcf8, 0x80000000 | function << 8 | (offset & 0xfc));
    u16 port = 0xcfc + (offset & 3);
    u32 value = bytes == 1 ? in8(port) : bytes == 2 ? in16(port) : in32(port);
    spin_unlock(&cf8_lock);
    return value;
  }
  u64 address = pci_ecam(function) + offset;
  return bytes == 1 ? read8(address) : bytes == 2 ? read16(address) : read32(address);
}

void pci_write(pci_function function, u32 offset, u32 bytes, u32 value) {
  pci_init();
  if (use_cf8) {
    spin_lock(&cf8_lock);
    out32(0xcf8, 0x80000000 | function << 8 | (offset & 0xfc));
    u16 port = 0xcfc + (offset & 3);
    if (bytes == 1) out8(port, value);
    if (bytes == 2) out16(port, value);
    if (bytes == 4) out32(port, value);
    spin_unlock(&cf8_lock);
    return;
  }
  u64 address = pci_ecam(function) + offset;
  if (bytes == 1) write8(address, value);
  if (bytes == 2) write16(address, value);
  if (bytes == 4) write32(address, value);
}

pci_function pci_find(u16 vendor, u16 device, u32 nth) {
  for (pci_function function = 0; function < 256; function += 8)
    if (pci_read32(function, PCI_ID) == ((u32)device << 16 | vendor) && nth-- == 0) return function;
  return PCI_NONE;
}

u32 pci_capability(pci_function function, u8 id, u32 after) {
  if (!(pci_read16(function, PCI_STATUS) & 0x10)) return 0;
  u32 at = pci_read8(function, after ? after + 1 : PCI_CAPABILITIES) & 0xfc;
  for (u32 hops = 0; at; hops++) {
    if (hops == 48) fail("the capability list of function %x loops", function);
    u16 header = pci_read16(function, at);
    if ((header & 0xff) == id) return at;
    at = header >> 8 & 0xfc;
  }
  return 0;
}

struct pci_bar pci_bar(pci_function function, u32 index) {
  u32 at = PCI_BAR0 + index * 4;
  struct pci_bar bar = {0};
  u16 command = pci_read16(function, PCI_COMMAND);
  // Decoding is off while the probe's all-ones stand in the register.
  pci_write16(function, PCI_COMMAND, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
  u32 low = pci_read32(function, at);
  bar.is_io = low & 1;
  bar.is_64bit = !bar.is_io && (low >> 1 & 3) == 2;
  bar.prefetchable = !bar.is_io && (low & 8);
  bar.address = low & (bar.is_io ? ~3u : ~15u);
  pci_write32(function, at, 0xffffffff);
  u64 mask = pci_read32(function, at) & (bar.is_io ? ~3u : ~15u);
  pci_write32(function, at, low);
  if (bar.is_64bit) {
    u32 high = pci_read32(function, at + 4);
    bar.address |= (u64)high << 32;
    pci_write32(function, at + 4, 0xffffffff);
    mask |= (u64)pci_read32(function, at + 4) << 32;
    pci_write32(function, at + 4, high);
  } else if (mask) {
    mask |= 0xffffffff00000000;
  }
  bar.size = mask ? -mask : 0;
  pci_write16(function, PCI_COMMAND, command);
  return bar;
}

void pci_set_bar(pci_function function, u32 index, u64 address) {
  u32 at = PCI_BAR0 + index * 4;
  u32 low = pci_read32(function, at);
  pci_write32(function, at, (u32)address | (low & 15));
  if (!(low & 1) && (low >> 1 & 3) == 2) pci_write32(function, at + 4, address >> 32);
}
