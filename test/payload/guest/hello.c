// Boot: the very first instructions write '!' to the firmware debug port, so that start to first instruction can be
// timed from outside; then everything handed over at entry is checked and printed.
#include "runtime/runtime.h"

__asm__(
    ".code32\n"
    ".globl pvh_entry\n"
    "pvh_entry:\n"
    "  mov $0x402, %dx\n"
    "  mov $'!', %al\n"
    "  out %al, %dx\n"
    "  jmp runtime_entry\n"
    ".code64\n");

static u64 find(u64 from, u64 to, const char *anchor, size_t length) {
  for (u64 at = from; at < to; at += 16)
    if (memcmp((void *)at, anchor, length) == 0) return at;
  return 0;
}

static u8 sum(u64 address, size_t length) {
  u8 total = 0;
  for (size_t i = 0; i < length; i++) total += read8(address + i);
  return total;
}

void payload(void) {
  const struct start_info *info = start_info();
  expect(info->magic == 0x336ec578, "start_info magic %x", info->magic);
  expect(info->version == 1, "start_info version %u", info->version);
  print("start_info address=%lx modules=%u cmdline=%lx rsdp=%lx memmap=%lx\n", (u64)info, info->nr_modules,
        info->cmdline_paddr, info->rsdp_paddr, info->memmap_paddr);
  print("cmdline %s\n", cmdline());

  u32 entries;
  const struct memory_range *map = memory_map(&entries);
  u64 ram = 0;
  for (u32 i = 0; i < entries; i++) {
    print("memmap address=%lx size=%lx type=%u\n", map[i].address, map[i].size, map[i].type);
    if (map[i].type == 1) ram += map[i].size;
  }
  expect(ram > 0, "no RAM in the memory map");

  u64 rsdp = info->rsdp_paddr;
  expect(rsdp && memcmp((void *)rsdp, "RSD PTR ", 8) == 0, "no RSDP at %lx", rsdp);
  if (rsdp) expect(sum(rsdp, 20) == 0 && (read8(rsdp + 15) < 2 || sum(rsdp, 36) == 0), "RSDP checksum");
  const char *signatures[] = {"FACP", "APIC", "MCFG"};
  for (u32 i = 0; i < 3; i++) {
    const u8 *table = acpi_table(signatures[i]);
    print("acpi %s=%lx\n", signatures[i], (u64)table);
    if (table) expect(sum((u64)table, read32((u64)table + 4)) == 0, "%s checksum", signatures[i]);
  }
  u64 smbios = find(0xf0000, 0x100000, "_SM3_", 5);
  u64 mp = find(0xf0000, 0x100000, "_MP_", 4);
  print("RESULT ram=%lu cpu_signature=%x time_source=%s smbios=%lx mp=%lx ebda=%x\n", ram, cpuid(1, 0).eax,
        time_source(), smbios, mp, read16(0x40e));
}
