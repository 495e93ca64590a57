// The ports and fixed addresses of the platform, against the machine's description: what is there, what is not, and the
// values at power-on. Parameters: below (MiB of RAM below the hole), above (MiB above 4 GiB).
#include "runtime/runtime.h"

static u8 cmos(u8 index) {
  out8(0x70, index);
  return in8(0x71);
}

static void is(u32 value, u32 wanted, const char *what) {
  expect(value == wanted, "%s reads %x, not %x", what, value, wanted);
}

static u32 bcd(u8 value) { return (value >> 4) * 10 + (value & 15); }

static void clock(void) {
  // Two readings with the same second between them are of one moment.
  u8 second, minute, hour, weekday, day, month, year, century;
  do {
    second = cmos(0), minute = cmos(2), hour = cmos(4);
    weekday = cmos(6), day = cmos(7), month = cmos(8), year = cmos(9), century = cmos(0x32);
  } while (second != cmos(0) || cmos(0x0a) & 0x80);
  u32 y = bcd(century) * 100 + bcd(year), m = bcd(month), d = bcd(day);
  expect(y >= 2024 && y < 2200 && m >= 1 && m <= 12 && d >= 1 && d <= 31 && bcd(hour) < 24 && bcd(minute) < 60 &&
             bcd(second) < 60,
         "the clock says %x%02x-%02x-%02x %02x:%02x:%02x", century, year, month, day, hour, minute, second);
  // Sakamoto's day of the week, Sunday 0.
  static const u8 offsets[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
  u32 shifted = m < 3 ? y - 1 : y;
  u32 wanted = (shifted + shifted / 4 - shifted / 100 + shifted / 400 + offsets[m - 1] + d) % 7 + 1;
  is(weekday, wanted, "the day of the week");
  print("RESULT date=%u-%02u-%02uT%02u:%02u:%02uZ\n", y, m, d, bcd(hour), bcd(minute), bcd(second));
  out8(0x70, 0), out8(0x71, 0x99);
  expect(cmos(0) != 0x99, "the clock can be set");
}

static void cmos_ram(void) {
  is(cmos(0x0a) & 0x7f, 0x20, "CMOS 0a");
  is(cmos(0x0b), 0, "CMOS 0b");
  is(cmos(0x0c), 0, "CMOS 0c");
  is(cmos(0x0d), 0x80, "CMOS 0d");
  is(cmos(0x0f), 0, "CMOS 0f");
  u64 below = param_number("below", 512), above = param_number("above", 0);
  u32 low = (below - 16) * 16, high = above * 16;
  is(cmos(0x34) | cmos(0x35) << 8, low > 0xffff ? 0xffff : low, "CMOS 34/35");
  is(cmos(0x5b) | cmos(0x5c) << 8 | cmos(0x5d) << 16, high, "CMOS 5b to 5d");
  for (u32 i = 0x40; i < 0x50; i++) {
    is(cmos(i), 0, "CMOS RAM");
    out8(0x70, i), out8(0x71, i * 5);
  }
  for (u32 i = 0x40; i < 0x50; i++) is(cmos(i), (u8)(i * 5), "CMOS RAM as written");
  // Data go to index & 7f, and the index register can be read. Index 0f with 00 is no reset, edk2 does it.
  out8(0x70, 0xc1), out8(0x71, 0x99);
  is(in8(0x70), 0xc1, "the CMOS index");
  is(cmos(0x41), 0x99, "CMOS 41 written as c1");
  out8(0x70, 0x0f), out8(0x71, 0);
  out8(0x70, 0x8f), out8(0x71, 1);
}

static void timers(void) {
  u64 start_ns = now_ns();
  u32 start = in32(0x608);
  spin_ns(200000000);
  u32 ticks = in32(0x608) - start;
  u64 ns = now_ns() - start_ns;
  u64 wanted = ns * 3579545 / 1000000000;
  expect(ticks > wanted * 98 / 100 && ticks < wanted * 102 / 100 + 10, "the PM timer makes %u ticks, not %lu", ticks,
         wanted);
}

static void ports(void) {
  is(in8(0x402), 0xe9, "port 402");
  is(in8(0x61) & 0x20, 0x20, "port 61 bit 5");
  is(in8(0x64), 0, "port 64");
  is(in8(0x600), 0, "port 600");
  out8(0x600, 0x20);  // sleep enable with another sleep type
  out8(0x600, 0x14);  // S5 type, no enable
  out8(0x64, 0x20);
  out8(0x64, 0xd1);
  static const u16 nothing[] = {0x20, 0x21, 0xa0, 0xa1, 0x40, 0x43, 0x60, 0x92, 0x1f0, 0x2f8, 0x2ff, 0x403, 0x510, 0x604,
                                0x60c, 0x1000, 0x5658, 0xb008, 0xffff};
  for (u32 i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
    u8 value = in8(nothing[i]);
    expect(value == 0xff, "port %x, where nothing is, reads %x", nothing[i], value);
    out8(nothing[i], 0);
  }
  is(in16(0x1000), 0xffff, "two bytes of nothing");
  is(in32(0x1000), 0xffffffff, "four bytes of nothing");
}

static void memory(void) {
  static const u64 nothing[] = {0xc0000000, 0xd0000000, 0xf8004000, 0xfec00100, 0xfed00000, 0xfed40000, 0xffc00000};
  for (u32 i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
    expect(read8(nothing[i]) == 0xff && read16(nothing[i]) == 0xffff && read32(nothing[i]) == 0xffffffff &&
               read64(nothing[i]) == ~0ull,
           "address %lx, where nothing is, reads %lx", nothing[i], read64(nothing[i]));
    write32(nothing[i], 0);
  }
  // RAM lies under the tables, although no map says so.
  u64 place = 0xe0000;
  write64(place, 0x1122334455667788);
  expect(read64(place) == 0x1122334455667788, "no RAM at %lx", place);
}

static void ioapic(void) {
  is(ioapic_read(0), 0, "IOAPIC ID");
  is(ioapic_read(1), 0x00170011, "IOAPIC version");
  for (u32 pin = 0; pin < 24; pin++) {
    is(ioapic_read(0x10 + pin * 2), 0x10000, "an IOAPIC entry");
    is(ioapic_read(0x11 + pin * 2), 0, "an IOAPIC entry's destination");
  }
  ioapic_write(0, 0xff000000);
  is(ioapic_read(0), 0x0f000000, "the IOAPIC ID as written");
  is(ioapic_read(2), 0x0f000000, "the arbitration ID");
  ioapic_write(0, 0);
  ioapic_write(1, 0);
  is(ioapic_read(1), 0x00170011, "the IOAPIC version after a write");
  ioapic_write(0x10, 0x1ffff);
  is(ioapic_read(0x10) & 0x5000, 0, "read-only bits of an entry");
  ioapic_write(0x10, 0x10000);
  write32(0xfec00000, 0x01);
  write8(0xfec00000, 0x10), write16(0xfec00000, 0x10), write64(0xfec00000, 0x10);
  is(read32(0xfec00000), 1, "the selector after writes of other widths");
}

static void tables(void) {
  expect(memcmp((void *)0xf0000, "_SM3_", 5) == 0, "no SMBIOS entry point at f0000");
  is(read8(0xf0006), 0x18, "length of the SMBIOS entry point");
  is(read64(0xf0010), 0xf0018, "address of the SMBIOS structures");
  is(read16(0x40e), 0xa000, "the EBDA word");
  expect(memcmp((void *)0xa0000, "RSD PTR ", 8) == 0, "no RSDP at a0000");
  u64 mp = 0;
  for (u64 at = 0xf0000; at < 0x100000 && !mp; at += 16)
    if (memcmp((void *)at, "_MP_", 4) == 0) mp = at;
  expect(mp != 0, "no MP floating pointer");
  if (mp) expect(memcmp((void *)(u64)read32(mp + 4), "PCMP", 4) == 0, "no MP table at %x", read32(mp + 4));
  u64 ged = acpi_region("GDST");
  expect(ged != 0, "no GED region");
  if (ged) is(read8(ged), 0, "the GED register");
}

void payload(void) {
  tables();
  ports();
  cmos_ram();
  clock();
  timers();
  ioapic();
  memory();
}
