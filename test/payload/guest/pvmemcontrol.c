// pvmemcontrol: registration, requests for RAM, and what is none. Each processor has a buffer of its own.
#include "runtime/pci.h"

#define BUFFERS 4
enum { ACK = 0x03cf5196, ERROR = 0x01fba249, RESET = 0x060fe6d2, REGISTER = 0x0e359539, READY = 0x0ca8d227, DISCONNECT = 0x030f5da0 };
enum { INFO, DONTNEED, REMOVE, FREE, PAGEOUT, DONTDUMP, SET_NAME, MLOCK, MUNLOCK, MPROTECT_NONE, MPROTECT_RW = 12, MERGEABLE, UNMERGEABLE };
enum { EINVAL = 22, ENOMEM = 12, EOPNOTSUPP = 95 };

union request {
  struct { u64 function, address, length, argument; };
  struct { u32 error, code; u64 value, major, minor; };
};

static u64 bar;
static volatile union request *buffers;
static u32 connections[BUFFERS];

static u32 command(u32 value) {
  write32(bar + 8, value);
  return read32(bar + 8);
}

static u32 ask(u32 connection, u64 function, u64 address, u64 length, u64 argument) {
  volatile union request *request = &buffers[connection];
  request->function = function, request->address = address, request->length = length, request->argument = argument;
  write32(bar + 8, connections[connection]);
  return request->error;
}

static void connect(void) {
  expect(command(RESET) == ACK, "a reset is answered with %x", read32(bar + 8));
  for (u32 i = 0; i < BUFFERS; i++) {
    write64(bar, (u64)&buffers[i]);
    expect(command(REGISTER) == ACK, "buffer %u is answered with %x", i, read32(bar + 8));
    connections[i] = read32(bar);
    expect(connections[i] == 0x80000000 + i, "buffer %u is connection %x", i, connections[i]);
  }
  expect(command(READY) == ACK, "ready is answered with %x", read32(bar + 8));
}

static void handshake(void) {
  expect(read32(bar + 8) == ERROR, "the device starts with %x", read32(bar + 8));
  static const u32 early[] = {REGISTER, READY, DISCONNECT, ACK, ERROR};
  for (u32 i = 0; i < 5; i++) expect(command(early[i]) == ERROR, "%x before a reset", early[i]);
  command(RESET);
  write64(bar, 0xfffffffff000);
  expect(command(REGISTER) == ERROR, "a buffer outside RAM is answered with %x", read32(bar + 8));
  expect(command(READY) == ERROR, "ready after that");
  command(RESET);
  for (u32 i = 0; i < 8192; i++) {
    write64(bar, (u64)&buffers[0]);
    if (command(REGISTER) != ACK) fail("connection %u is answered with %x", i, read32(bar + 8));
  }
  write64(bar, (u64)&buffers[0]);
  expect(command(REGISTER) == ERROR, "more connections than there can be");
  connect();
  expect(command(0x12345678) == ACK, "an unknown command is answered with %x", read32(bar + 8));
}

static void requests(u8 *memory) {
  expect(ask(0, INFO, 0, 0, 0) == 0 && buffers[0].value == 4096 && buffers[0].major == 1, "info");
  memory[0] = memory[4096] = 1;
  expect(ask(1, DONTNEED, (u64)memory, 4096, 0) == 0, "dontneed: %u", buffers[1].error);
  expect(memory[0] == 0 && memory[4096] == 1, "dontneed took %u and %u", memory[0], memory[4096]);
  static const u64 advices[] = {FREE, PAGEOUT, DONTDUMP, MLOCK, MUNLOCK, MPROTECT_RW, MERGEABLE, UNMERGEABLE};
  for (u32 i = 0; i < 8; i++) {
    u32 error = ask(2, advices[i], (u64)memory + 8192, 4096, 0);
    // A kernel without KSM knows nothing of merging.
    expect(error == 0 || (advices[i] >= MERGEABLE && error == EINVAL), "function %lu: %u", advices[i], error);
  }
  static const u64 refused[] = {9, 10, 11, 15, 1ull << 32, ~0ull};
  for (u32 i = 0; i < 6; i++)
    expect(ask(3, refused[i], (u64)memory, 4096, 0) == EOPNOTSUPP && buffers[3].code == (u32)refused[i], "function %lx: %u",
           refused[i], buffers[3].error);
  static const u64 outside[][2] = {{0xd0000000, 4096}, {0xfffffffffffff000, 4096}, {0x1000, ~0ull}, {0, 1ull << 40}};
  for (u32 i = 0; i < 4; i++)
    expect(ask(0, DONTNEED, outside[i][0], outside[i][1], 0) == EINVAL, "%lx is RAM: %u", outside[i][0], buffers[0].error);
  expect(ask(0, DONTNEED, (u64)memory + 1, 4096, 0) == EINVAL, "half a page: %u", buffers[0].error);
  // Mappings of the process are not the guest's to use up.
  u32 error = 0, asked = 0;
  for (; asked < 20000 && error == 0; asked++) error = ask(0, asked & 1 ? MLOCK : MUNLOCK, (u64)memory + asked % 64 * 8192, 4096, 0);
  expect(error == ENOMEM && asked < 10000, "request %u for a part of RAM ends with %u", asked, error);
  expect(ask(0, DONTNEED, (u64)memory, 4096, 0) == 0, "requests that split nothing still work: %u", buffers[0].error);
}

static void hammer(void) {
  for (u32 offset = 0; offset < 16; offset++)
    for (u32 value = 0; value < 4; value++) {
      write8(bar + offset, value), write16(bar + offset, value), write32(bar + offset, value), write64(bar + offset, value);
      (void)read8(bar + offset), (void)read16(bar + offset), (void)read32(bar + offset), (void)read64(bar + offset);
    }
}

void payload(void) {
  pci_init();
  pci_function function = pci_find(0x1ae0, 0x0087, 0);
  if (function == PCI_NONE) fail("no pvmemcontrol device");
  expect(pci_read32(function, PCI_CLASS) == 0x08800001, "class and revision are %x", pci_read32(function, PCI_CLASS));
  expect(pci_read32(function, PCI_SUBSYSTEM) == 0x011f1ae0, "the subsystem is %x", pci_read32(function, PCI_SUBSYSTEM));
  expect(pci_bar(function, 0).size == 16, "BAR 0 has %lu bytes", pci_bar(function, 0).size);
  bar = pci_bar(function, 0).address;
  buffers = allocate(sizeof *buffers * BUFFERS, 4096);
  u8 *memory = allocate(1 << 20, 1 << 20);
  handshake();
  requests(memory);
  hammer();
  connect();
  expect(ask(0, INFO, 0, 0, 0) == 0, "info after all this");
  print("RESULT done=1\n");
}
