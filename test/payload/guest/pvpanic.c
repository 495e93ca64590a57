// pvpanic: the device's identity and register, then every event written once, and a flood of them. Parameter: flood (writes).
#include "runtime/pci.h"

void payload(void) {
  pci_init();
  pci_function f = pci_find(0x1b36, 0x0011, 0);
  if (f == PCI_NONE) fail("no pvpanic device");
  expect(pci_read32(f, PCI_CLASS) == 0x08800001, "class and revision are %x", pci_read32(f, PCI_CLASS));
  expect(pci_read16(f, PCI_COMMAND) == 0x0103, "the command register is %x", pci_read16(f, PCI_COMMAND));
  struct pci_bar bar = pci_bar(f, 0);
  expect(bar.size == 16 && !bar.is_io && !bar.is_64bit && !bar.prefetchable, "BAR 0 has %lu bytes", bar.size);
  expect(read8(bar.address) == 3, "the register reads %x", read8(bar.address));
  for (u32 i = 1; i <= 3; i++) write8(bar.address, i);
  u64 flood = param_number("flood", 0);
  for (u64 i = 0; i < flood; i++) write8(bar.address, 1);
  print("RESULT flood=%lu\n", flood);
}
