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
