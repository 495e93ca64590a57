// fw_cfg: items by port and by DMA, the directory, and requests that ask for too much. Parameters: kernel (bytes it has to
// have, with its setup), file (bytes of the item opt/file, each its offset times 7), text (content of opt/text).
#include "runtime/runtime.h"

enum { SELECTOR = 0x510, DATA = 0x511, DMA_HIGH = 0x514, DMA_LOW = 0x518 };
enum { SIGNATURE = 0, FEATURES = 1, KERNEL_SIZE = 8, KERNEL_DATA = 0x11, CMDLINE_SIZE = 0x14, CMDLINE_DATA = 0x15, SETUP_SIZE = 0x17, DIRECTORY = 0x19 };
enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

static struct {
  u32 control, length;
  u64 address;
} dma __attribute__((aligned(8)));
static u8 *bytes;
static u64 seed = 0x9e3779b97f4a7c15;

static u64 next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static u32 big(u32 value) { return __builtin_bswap32(value); }

static void select(u16 key) { out16(SELECTOR, key); }

static void read_port(void *to, u32 length) {
  for (u32 i = 0; i < length; i++) ((u8 *)to)[i] = in8(DATA);
}

static u32 number(u16 key) {
  u32 value;
  select(key);
  read_port(&value, 4);
  return value;
}

static void start_dma(u64 at) {
  compiler_barrier();
  out32(DMA_HIGH, big(at >> 32));
  out32(DMA_LOW, big(at));
  compiler_barrier();
}

// The control word that is left.
static u32 run(u32 control, u32 length, void *to) {
  dma.control = big(control);
  dma.length = big(length);
  dma.address = __builtin_bswap64((u64)to);
  start_dma((u64)&dma);
  return big(dma.control);
}

// The key of a file, or 0, and its size.
static u16 find(const char *name, u32 *size) {
  u32 count;
  select(DIRECTORY);
  read_port(&count, 4);
  for (u32 i = 0; i < big(count); i++) {
    struct { u32 size; u16 key, reserved; char name[56]; } entry;
    read_port(&entry, sizeof entry);
    if (!streq(entry.name, name)) continue;
    if (size) *size = big(entry.size);
    return __builtin_bswap16(entry.key);
  }
  return 0;
}

static u16 must_find(const char *name, u32 *size) {
  u16 key = find(name, size);
  if (key == 0) fail("there is no %s", name);
  return key;
}

static void ports(void) {
  char text[9] = {0};
  select(SIGNATURE);
  read_port(text, 8);
  expect(streq(text, "QEMU CFG"), "the signature is %s", text);
  expect(number(FEATURES) == 3, "the features are %x", number(FEATURES));
  select(SIGNATURE);
  u32 four = in32(DATA);
  expect(four == 0x554d4551, "four bytes at once are %x", four);
  expect(in16(DATA) == 0x4320, "two bytes at once");
  expect(in32(DATA) == 0x4746 && in8(DATA) == 0, "bytes behind the end are not 0");
  select(0x3fff);
  expect(in32(DATA) == 0, "an item that is not there");
}

static void items(void) {
  u32 size;
  const char *text = param("text", "");
  u16 key = must_find("opt/text", &size);
  expect(size == strlen(text), "opt/text has %u bytes", size);
  select(key);
  read_port(bytes, size);
  expect(memcmp(bytes, text, size) == 0, "opt/text is something else");

  key = must_find("opt/file", &size);
  expect(size == param_number("file", 0), "opt/file has %u bytes", size);
  memset(bytes, 0xa5, size + 8);
  expect(run(SELECT | READ | (u32)key << 16, size + 4, bytes) == 0, "a DMA read of all of opt/file");
  for (u32 i = 0; i < size; i++)
    if (bytes[i] != (u8)(i * 7)) fail("opt/file has %x at %u", bytes[i], i);
  for (u32 i = size; i < size + 8; i++) expect(bytes[i] == (i < size + 4 ? 0 : 0xa5), "byte %u is %x", i, bytes[i]);
  expect(run(SELECT | SKIP | (u32)key << 16, 1000, 0) == 0 && in8(DATA) == (u8)(1000 * 7), "a skip of 1000 bytes");
  expect(run(READ, 2, bytes) == 0 && bytes[1] == (u8)(1002 * 7), "a DMA read goes on where the port was");

  select(must_find("etc/e820", &size));
  expect(size % 20 == 0 && size >= 100, "the memory map has %u bytes", size);
  u64 start, length;
  read_port(&start, 8);
  read_port(&length, 8);
  expect(start == 0 && length == 0xa0000, "the first range is %lx and %lx", start, length);
  expect(find("etc/table-loader", &size) && size % 128 == 0, "the table loader");
  expect(find("acpi/rsdp", &size) && size == 36, "the RSDP has %u bytes", size);
  select(must_find("acpi/tables", &size));
  u32 signature = in32(DATA);
  expect(signature == 0x54445344, "the tables begin with %x", signature);

  u32 kernel = number(KERNEL_SIZE) + number(SETUP_SIZE);
  expect(kernel == param_number("kernel", 0), "the kernel has %u bytes", kernel);
  expect(run(SELECT | READ | KERNEL_DATA << 16, 4, bytes) == 0 && memcmp(bytes, "\177ELF", 4) == 0, "no ELF kernel");
  u32 line = number(CMDLINE_SIZE);
  expect(line == strlen(cmdline()) + 1, "the command line has %u bytes", line);
  select(CMDLINE_DATA);
  read_port(bytes, line);
  expect(memcmp(bytes, cmdline(), line) == 0, "the command line is another");
}

static void refusals(void) {
  select(must_find("opt/file", 0));
  expect(run(WRITE, 4, bytes) == ERROR, "a write");
  static const u64 outside[] = {0xd0000000, 0xfee00000, 0xffffffffffffffff, 1ull << 52, 0x8000000000000000};
  for (u32 i = 0; i < sizeof outside / sizeof outside[0]; i++) {
    expect(run(READ, 16, (void *)outside[i]) == ERROR, "a DMA read to %lx", outside[i]);
    start_dma(outside[i]);
  }
  expect(run(READ, 0xffffffff, bytes) == ERROR, "a DMA read of 4 GiB");
  u64 top = ram_top_below_4g();
  expect(run(READ, 4097, (void *)(top - 4096)) == ERROR, "a DMA read over the end of RAM");
  start_dma(top - 8);
  expect(run(SKIP, 0xffffffff, 0) == 0 && in8(DATA) == 0, "a skip beyond the end");
  expect(run(0, 4, 0) == 0, "nothing to do");
}

static void hammer(void) {
  for (u32 i = 0; i < 3000; i++) {
    u16 port = SELECTOR + next_random() % 12;
    u32 value = next_random() % 4 ? next_random() & 0x3f : next_random();
    switch (next_random() % 6) {
      case 0: out8(port, value); break;
      case 1: out16(port, value); break;
      case 2: out32(port, value); break;
      case 3: (void)in8(port); break;
      case 4: (void)in16(port); break;
      case 5: (void)in32(port); break;
    }
    if (i % 100 == 0) run(next_random() & 0xff000f, next_random() & 0xffff, bytes);
  }
  out32(DMA_HIGH, 0);
}

void payload(void) {
  bytes = allocate(1 << 20, 4096);
  ports();
  items();
  refusals();
  hammer();
  ports();
  items();
  print("RESULT done=1\n");
}
