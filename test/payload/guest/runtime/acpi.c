// Just enough ACPI to find a table.
#include "internal.h"

const u8 *acpi_table(const char *signature) {
  u64 rsdp = start_info()->rsdp_paddr;
  if (!rsdp || memcmp((void *)rsdp, "RSD PTR ", 8) != 0) return NULL;
  bool extended = read8(rsdp + 15) >= 2 && read64(rsdp + 24) != 0;
  u64 root = extended ? read64(rsdp + 24) : read32(rsdp + 16);
  u32 entry_size = extended ? 8 : 4;
  u32 length = read32(root + 4);
  map_range(root, length);
  for (u64 at = root + 36; at + entry_size <= root + length; at += entry_size) {
    u64 table = extended ? read64(at) : read32(at);
    map_range(table, 36);
    if (memcmp((void *)table, signature, 4) == 0) return (const u8 *)table;
  }
  return NULL;
}

// ExtOpPrefix OpRegionOp NameSeg SystemMemory QWordPrefix (ACPI 6.5, 20.2.5.2): found by its bytes, not by parsing AML.
u64 acpi_region(const char *name) {
  const u8 *facp = acpi_table("FACP");
  if (!facp) return 0;
  u64 dsdt = read64((u64)facp + 140);
  if (!dsdt) dsdt = read32((u64)facp + 40);
  u32 length = read32(dsdt + 4);
  for (u64 at = dsdt + 36; at + 16 <= dsdt + length; at++) {
    if (read8(at) != 0x5b || read8(at + 1) != 0x80 || read8(at + 6) != 0 || read8(at + 7) != 0x0e) continue;
    if (memcmp((void *)(at + 2), name, 4) != 0) continue;
    map_range(read64(at + 8), 0x1000);
    return read64(at + 8);
  }
  return 0;
}
