// ivshmem: the device's identity, registers that do nothing, and memory that another guest has too. The two take turns to
// count, and each moves its BAR 2 about meanwhile. Parameters: size, role=ping|pong, rounds.
#include "runtime/pci.h"

static pci_function device;
static u64 memory, size, home;

static u64 place(u64 address) {
  pci_set_bar(device, 2, address);
  memory = pci_bar(device, 2).address;
  map_range(memory, size);
  return memory;
}

static void wait_for(u64 address, u64 value) {
  u64 deadline = now_ns() + 30000000000;
  while (read64(address) != value) {
    if (now_ns() > deadline) fail("the count is %lu and not %lu after 30 s", read64(address), value);
    cpu_relax();
  }
}

static void identity(void) {
  expect(pci_read32(device, PCI_CLASS) == 0x05000001, "class and revision are %x", pci_read32(device, PCI_CLASS));
  expect(pci_read32(device, PCI_CAPABILITIES) == 0, "there are capabilities");
  struct pci_bar registers = pci_bar(device, 0), bar = pci_bar(device, 2);
  expect(registers.size == 0x100 && !registers.is_64bit, "BAR 0 has %lu bytes", registers.size);
  expect(pci_bar(device, 1).size == 0, "there is a BAR 1");
  expect(bar.size == size && bar.is_64bit && bar.prefetchable, "BAR 2 has %lu bytes", bar.size);
  for (u32 at = 0; at < 0x100; at += 4) {
    write32(registers.address + at, 0xffffffff);
    expect(read32(registers.address + at) == 0, "register %x reads %x", at, read32(registers.address + at));
  }
  home = bar.address;
}

static void moves(void) {
  u64 away = home - 4 * size;
  u64 first = read64(memory + size - 8);
  expect(place(away) == away, "BAR 2 is at %lx, not %lx", memory, away);
  expect(read64(memory + size - 8) == first, "the memory did not come along");
  expect(read64(home) == ~0ull, "something is left at the old place: %lx", read64(home));
  u64 bad[] = {away + size / 2, 0x1000, 0xfee00000, 1ull << 52};
  for (u32 i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    pci_set_bar(device, 2, bad[i]);
    u64 now = pci_bar(device, 2).address;
    expect(now == away, "BAR 2 went to %lx when asked for %lx", now, bad[i]);
  }
  expect(read64(memory + size - 8) == first, "the memory went away");
  expect(place(home) == home, "BAR 2 is at %lx, not back home", memory);
}

void payload(void) {
  pci_init();
  device = pci_find(0x1af4, 0x1110, 0);
  if (device == PCI_NONE) fail("no ivshmem device");
  size = param_number("size", 0);
  identity();
  pci_write16(device, PCI_COMMAND, PCI_COMMAND_MEMORY);
  place(home);
  bool ping = param_is("role", "ping");
  u64 rounds = param_number("rounds", 0), own = memory + (ping ? 64 : 128), other = memory + (ping ? 128 : 64);
  // Afterwards nobody changes it, which is how a guest knows its memory again.
  if (ping) write64(memory + size - 8, 0x6976736d656d);
  else wait_for(memory + size - 8, 0x6976736d656d);
  moves();
  for (u64 i = 0; i < rounds; i++) {
    if (!ping) wait_for(other, i + 1);
    write64(own, i + 1);
    if (ping) wait_for(other, i + 1);
    if (i % 16 == 5) moves();
  }
  expect(read64(memory + size - 8) == 0x6976736d656d, "the last word is %lx", read64(memory + size - 8));
  print("RESULT rounds=%lu\n", rounds);
}
