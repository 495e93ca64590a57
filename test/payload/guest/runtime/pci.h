// PCI configuration space of bus 0, by ECAM or by ports 0xcf8/0xcfc.
#pragma once
#include "runtime.h"

// Device << 3 | function.
typedef u32 pci_function;
#define PCI_NONE 0xffffffffu

enum {
  PCI_ID = 0x00,
  PCI_COMMAND = 0x04,
  PCI_STATUS = 0x06,
  PCI_CLASS = 0x08,
  PCI_CACHE_LINE = 0x0c,
  PCI_BAR0 = 0x10,
  PCI_SUBSYSTEM = 0x2c,
  PCI_CAPABILITIES = 0x34,
  PCI_INTERRUPT_LINE = 0x3c,
};
enum { PCI_COMMAND_IO = 1, PCI_COMMAND_MEMORY = 2, PCI_COMMAND_MASTER = 4 };
enum { PCI_CAPABILITY_VENDOR = 0x09, PCI_CAPABILITY_MSIX = 0x11 };

// `pci=cf8` or `pci=ecam` on the command line chooses; by default ECAM where the MCFG table names it.
void pci_init(void);
// The address of the function's 4 KiB in the ECAM window, or 0 without one.
u64 pci_ecam(pci_function function);

u32 pci_read(pci_function function, u32 offset, u32 bytes);
void pci_write(pci_function function, u32 offset, u32 bytes, u32 value);
static inline u32 pci_read32(pci_function function, u32 offset) { return pci_read(function, offset, 4); }
static inline u16 pci_read16(pci_function function, u32 offset) { return pci_read(function, offset, 2); }
static inline u8 pci_read8(pci_function function, u32 offset) { return pci_read(function, offset, 1); }
static inline void pci_write32(pci_function function, u32 offset, u32 value) { pci_write(function, offset, 4, value); }
static inline void pci_write16(pci_function function, u32 offset, u16 value) { pci_write(function, offset, 2, value); }
static inline void pci_write8(pci_function function, u32 offset, u8 value) { pci_write(function, offset, 1, value); }

// The `nth` function (from 0) with this vendor and device, or PCI_NONE.
pci_function pci_find(u16 vendor, u16 device, u32 nth);
// Offset of the next capability of this kind after `after` (0: from the start), or 0. A looping list ends in fail().
u32 pci_capability(pci_function function, u8 id, u32 after);

struct pci_bar {
  u64 address, size;
  bool is_io, is_64bit, prefetchable;
};
// Sizes the BAR by the all-ones probe and restores it; size 0 when not implemented.
struct pci_bar pci_bar(pci_function function, u32 index);
void pci_set_bar(pci_function function, u32 index, u64 address);
