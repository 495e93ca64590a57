// virtio-balloon: every page given is zeroed and no other, whatever the list; then, with size=, what the host asks for is
// given and taken back until it asks for nothing. Parameters: features (offered by the device, bits 0 to 31), pages (wanted at
// first), size (bytes that are there to be given, filled with data), unit (bytes that the host takes back at once).
#include "runtime/virtio.h"

enum { STATS_VQ = 1 << 1, DEFLATE_ON_OOM = 1 << 2, REPORTING = 1 << 5 };
enum { NUM_PAGES = 0, ACTUAL = 4 };
#define PAGE 4096
#define HOLE 0xd0000000ull

static struct virtio_device device;
static struct virtqueue inflate, deflate, statistics, reporting;
static u32 *list;
static u64 unit;

static u64 pattern(u64 address) { return address * 0x9e3779b97f4a7c15 | 1; }

static void fill(u8 *area, u64 bytes) {
  for (u64 i = 0; i < bytes; i += PAGE) {
    for (u64 j = 0; j < PAGE; j += 512) *(u64 *)(area + i + j) = pattern((u64)area + i + j);
    *(u64 *)(area + i + PAGE - 8) = pattern((u64)area + i + PAGE - 8);
  }
}

// Whether a page is as it was filled, or all zero.
static bool kept(u8 *page) {
  for (u64 j = 0; j < PAGE; j += 512)
    if (*(u64 *)(page + j) != pattern((u64)page + j)) return false;
  return *(u64 *)(page + PAGE - 8) == pattern((u64)page + PAGE - 8);
}
static bool zero(u8 *page) {
  for (u64 j = 0; j < PAGE; j += 8)
    if (*(u64 *)(page + j) != 0) return false;
  return true;
}

static u32 send_all(struct virtqueue *queue, const struct buffer *buffers, u32 readable, u32 writable) {
  if (virtq_add(queue, buffers, readable, writable) < 0) fail("no free descriptor");
  virtq_kick(queue);
  u32 used = 0;
  if (virtq_wait(queue, &used, 20000000000) < 0)
    fail("queue %u does not answer: status %x", queue->index, virtio_status(&device));
  return used;
}

static u32 send_list(struct virtqueue *queue, const u32 *pages, u32 bytes) {
  struct buffer buffer = {(void *)pages, bytes};
  return send_all(queue, &buffer, 1, 0);
}

static void lists(void) {
  enum { PAGES = 512 };
  u8 *area = allocate(PAGES * PAGE, 2 << 20);
  u32 first = (u64)area / PAGE;
  fill(area, PAGES * PAGE);
  // Backwards, with gaps, each one twice.
  u32 n = 0;
  for (u32 i = 0; i < 256; i += 2) list[n++] = first + 255 - i, list[n++] = first + 255 - i;
  expect(send_list(&inflate, list, n * 4) == 0, "inflate writes into a list");
  for (u32 i = 0; i < PAGES; i++) {
    bool given = i < 256 && (i & 1);
    expect(given && unit == PAGE ? zero(area + i * PAGE) : kept(area + i * PAGE), "page %u is wrong", i);
  }
  // The other half of them and the rest: the last page of a host's page gives it.
  for (n = 0; n < PAGES; n++) list[n] = first + n;
  struct buffer two[] = {{list, PAGES * 2}, {list + PAGES / 2, PAGES * 2}};
  send_all(&inflate, two, 2, 0);
  for (u32 i = 0; i < PAGES; i++) expect(zero(area + i * PAGE), "page %u was given and is there", i);
  expect(send_list(&deflate, list, PAGES * 2) == 0, "deflate writes into a list");
  fill(area, PAGES * PAGE);
  for (u32 i = 0; i < PAGES; i++) expect(kept(area + i * PAGE), "page %u cannot be used again", i);
}

// None of these names a page of the area whole and well.
static void bad_lists(void) {
  enum { PAGES = 1024 };
  u8 *area = allocate((PAGES + 2) * PAGE, PAGE) + PAGE;
  fill(area - PAGE, (PAGES + 2) * PAGE);
  u32 first = (u64)area / PAGE, end = ram_top_below_4g() / PAGE;
  static const u32 lengths[] = {1, 2, 3, 5, 4095, 4097, 4098, 4100, 65536, 1 << 20};
  u32 *large = allocate(1 << 20, PAGE);
  for (u32 i = 0; i < (1 << 18); i++) large[i] = first + i % PAGES;
  for (u32 i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
    expect(send_list(&inflate, large, lengths[i]) == 0, "a list of %u bytes is written to", lengths[i]);
  struct buffer buffer = {large, PAGE};
  expect(send_all(&inflate, &buffer, 0, 1) == 0, "a list that is writable is written to");
  expect(send_all(&deflate, &buffer, 0, 1) == 0, "a list that is writable is written to");
  buffer.length = 0;
  send_all(&inflate, &buffer, 1, 0);
  send_all(&inflate, &buffer, 0, 1);
  buffer.address = (void *)HOLE, buffer.length = PAGE;
  expect(send_all(&inflate, &buffer, 1, 0) == 0, "a list in the hole");
  // Pages where no RAM is: beyond its end, in the hole, of devices, of this device, and the highest there can be.
  u32 bad[] = {end, end + 1, HOLE / PAGE, 0xfec00, 0xfee00, 0xe8000, device.common / PAGE, device.common >> 32,
               0xfffff, 0x7fffffff, 0x80000000, 0xffffffff};
  expect(send_list(&inflate, bad, sizeof bad) == 0, "pages outside RAM");
  send_list(&deflate, bad, sizeof bad);
  for (u32 i = 0; i < PAGES; i++) list[i] = end - 1 + i;
  list[0] = 0xffffffff;
  send_list(&inflate, list, PAGES * 4);
  for (u32 i = 0; i < PAGES + 2; i++) expect(kept(area + (i - 1ull) * PAGE), "page %u of bad lists was given", i);
  // As many pages as a chain can name, each of them many times.
  struct buffer all[128];
  for (u32 i = 0; i < 128; i++) all[i] = (struct buffer){large, PAGE};
  send_all(&inflate, all, 128, 0);
  expect(kept(area - PAGE) && kept(area + PAGES * PAGE), "the pages around were given");
  if (unit == PAGE)
    for (u32 i = 0; i < PAGES; i++) expect(zero(area + i * PAGE), "page %u of a long chain is there", i);
}

static void configuration(u32 pages) {
  u64 config = device.config;
  expect(read32(config + NUM_PAGES) == pages && read32(config + ACTUAL) == 0, "the device wants %u pages and has %u",
         read32(config + NUM_PAGES), read32(config + ACTUAL));
  write32(config + NUM_PAGES, 77);
  write8(config + ACTUAL, 77), write16(config + ACTUAL, 77), write16(config + ACTUAL + 2, 77);
  write64(config, 77), write64(config + ACTUAL, 77);
  for (u32 i = 8; i < 64; i += 4) write32(config + i, 77);
  expect(read32(config + NUM_PAGES) == pages && read32(config + ACTUAL) == 0, "a write was taken");
  write32(config + ACTUAL, 0xffffffff);
  expect(read32(config + ACTUAL) == 0xffffffff, "actual reads %x", read32(config + ACTUAL));
  write32(config + ACTUAL, 0);
}

static void reports(void) {
  u8 *area = allocate(4 << 20, 2 << 20);
  fill(area, 4 << 20);
  // One buffer of whole pages of whatever host, one from the middle of a page to that of another.
  struct buffer two[] = {{area, 2 << 20}, {area + (2 << 20) + 100, 3 * PAGE}};
  expect(send_all(&reporting, two, 0, 2) == (2 << 20) + 3 * PAGE, "wrong length of a report");
  for (u32 i = 0; i < 512; i++) expect(zero(area + i * PAGE), "page %u was reported and is there", i);
  area += 2 << 20;
  for (u32 i = 0; i < 512; i++) {
    bool whole = (i == 1 || i == 2) && unit == PAGE;
    expect(whole ? zero(area + i * PAGE) : kept(area + i * PAGE), "page %u is wrong after a report", i);
  }
  struct buffer bad = {(void *)HOLE, PAGE};
  expect(send_all(&reporting, &bad, 0, 1) == 0, "the hole was reported");
  bad = (struct buffer){area + 100 * PAGE, PAGE};
  expect(send_all(&reporting, &bad, 1, 0) == 0 && kept(area + 100 * PAGE), "readable memory was reported");
}

struct statistic {
  u16 tag;
  u64 value;
} __attribute__((packed));

static void tell_statistics(void) {
  struct statistic *told = allocate(1 << 20, PAGE);
  for (u32 i = 0; i < 64; i++) told[i] = (struct statistic){i, 1000 + i};
  told[64] = (struct statistic){4, ~0ull};
  struct buffer buffer = {told, 1 << 20};
  if (virtq_add(&statistics, &buffer, 1, 0) < 0) fail("no free descriptor");
  virtq_kick(&statistics);
}

// Gives pages of the area, or takes the last ones back, until it has given as many as the host wants.
static void follow(u8 *area, u64 bytes) {
  u32 given = 0, told = 1;
  u64 deadline = now_ns() + 60000000000;
  fill(area, bytes);
  print("READY\n");
  for (bool asked = false; !asked || given > 0;) {
    u32 used;
    if (statistics.size && virtq_poll(&statistics, &used) >= 0) tell_statistics();
    u32 wanted = read32(device.config + NUM_PAGES);
    if (wanted > bytes / PAGE) fail("the host wants %u pages", wanted);
    if (wanted == given) {
      if (given != told) write32(device.config + ACTUAL, told = given), print("GIVEN %u\n", given);
      if (now_ns() > deadline) fail("the host asks for nothing");
      continue;
    }
    asked = true;
    u32 n = 0;
    for (; given < wanted && n < 256; n++) list[n] = (u64)area / PAGE + given++;
    if (n) send_list(&inflate, list, n * 4);
    for (n = 0; given > wanted && n < 256; n++) list[n] = (u64)area / PAGE + --given;
    if (n) send_list(&deflate, list, n * 4);
  }
  write32(device.config + ACTUAL, 0);
}

void payload(void) {
  if (!virtio_open(&device, VIRTIO_BALLOON, 0)) fail("no balloon");
  u64 features = param_number("features", 0);
  expect(virtio_offered(&device) == (FEATURE_VERSION_1 | features), "offered: %lx", virtio_offered(&device));
  unit = param_number("unit", PAGE);
  configuration(param_number("pages", 0));
  virtio_negotiate(&device, ~0ull);
  u32 next = 0;
  virtio_queue_init(&inflate, &device, next++, 0);
  virtio_queue_init(&deflate, &device, next++, 0);
  if (features & STATS_VQ) virtio_queue_init(&statistics, &device, next++, 0);
  if (features & REPORTING) virtio_queue_init(&reporting, &device, next++, 0);
  expect(virtio_queue_max(&device, next) == 0, "there is a queue %u", next);
  expect(inflate.size == 128 && deflate.size == 128, "queues of %u and %u", inflate.size, deflate.size);
  if (features & REPORTING) expect(reporting.size == 32, "a reporting queue of %u", reporting.size);
  virtio_driver_ok(&device);
  list = allocate(PAGE, PAGE);
  if (features & STATS_VQ) tell_statistics();
  lists();
  bad_lists();
  if (features & REPORTING) reports();
  u64 size = param_number("size", 0);
  if (size) follow(allocate(size, 2 << 20), size);
  print("RESULT size=%lu\n", size);
}
