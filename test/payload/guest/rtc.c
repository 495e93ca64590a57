// virtio-rtc: every message, whole and malformed, and that the clock goes. Parameter: now (seconds since 1970 on the host).
#include "runtime/virtio.h"

enum { READ = 0x0001, CFG = 0x1000, CLOCK_CAP = 0x1001, CROSS_CAP = 0x1002 };
enum { OK = 0, EOPNOTSUPP = 2, ENODEV = 3, EINVAL = 4 };
#define NO_ANSWER 0xa5

static struct virtio_device device;
static struct virtqueue queue;
static u8 *request, *answer;

static const struct {
  const char *what;
  u16 type;
  u32 length;
  u16 clock;
  u32 room, used;
  u8 status;
} cases[] = {
    {"CFG", CFG, 8, 0, 16, 16, OK},
    {"CFG with more than it needs", CFG, 64, 7, 64, 16, OK},
    {"CLOCK_CAP", CLOCK_CAP, 16, 0, 16, 16, OK},
    {"CROSS_CAP", CROSS_CAP, 16, 0, 16, 16, OK},
    {"READ", READ, 16, 0, 16, 16, OK},
    {"READ of clock 1", READ, 16, 1, 16, 16, ENODEV},
    {"READ of clock 65535", READ, 16, 65535, 16, 16, ENODEV},
    {"CLOCK_CAP of clock 1", CLOCK_CAP, 16, 1, 16, 16, ENODEV},
    {"CROSS_CAP of clock 256", CROSS_CAP, 16, 256, 16, 16, ENODEV},
    {"READ without a clock", READ, 8, 0, 16, 8, EINVAL},
    {"READ cut short", READ, 15, 0, 16, 8, EINVAL},
    {"CLOCK_CAP cut short", CLOCK_CAP, 10, 0, 16, 8, EINVAL},
    {"CROSS_CAP cut short", CROSS_CAP, 15, 0, 16, 8, EINVAL},
    {"CFG cut short", CFG, 7, 0, 16, 8, EINVAL},
    {"one byte", CFG, 1, 0, 16, 8, EINVAL},
    {"type 0", 0, 16, 0, 16, 8, EOPNOTSUPP},
    {"READ_CROSS", 0x0002, 16, 0, 16, 8, EOPNOTSUPP},
    {"READ_ALARM", 0x1003, 16, 0, 16, 8, EOPNOTSUPP},
    {"type 65535", 0xffff, 8, 0, 8, 8, EOPNOTSUPP},
    {"CFG with room for a head", CFG, 8, 0, 8, 8, EINVAL},
    {"READ with 15 bytes of room", READ, 16, 0, 15, 8, EINVAL},
    {"READ of clock 1 with room for a head", READ, 16, 1, 8, 8, EINVAL},
    {"READ with 7 bytes of room", READ, 16, 0, 7, 0, NO_ANSWER},
    {"READ with no room", READ, 16, 0, 0, 0, NO_ANSWER},
    {"no request", READ, 0, 0, 16, 0, NO_ANSWER},
};

static u32 ask(u16 type, u32 length, u16 clock, u32 room) {
  memset(request, 0, 64);
  memcpy(request, &type, 2);
  memcpy(request + 8, &clock, 2);
  memset(answer, NO_ANSWER, 64);
  // Two buffers each way, so that a structure may lie across a border.
  struct buffer buffers[4];
  u32 readable = 0, writable = 0, first = length > 9 ? 9 : length;
  if (first) buffers[readable++] = (struct buffer){request, first};
  if (length > first) buffers[readable++] = (struct buffer){request + first, length - first};
  first = room > 3 ? 3 : room;
  if (first) buffers[readable + writable++] = (struct buffer){answer, first};
  if (room > first) buffers[readable + writable++] = (struct buffer){answer + first, room - first};
  if (virtq_add(&queue, buffers, readable, writable) < 0) fail("no free descriptor");
  virtq_kick(&queue);
  u32 used = 0;
  if (virtq_wait(&queue, &used, 10000000000) < 0) fail("a request of type %x was not answered", type);
  for (u32 i = used; i < 64; i++) expect(answer[i] == NO_ANSWER, "type %x: byte %u was written", type, i);
  return used;
}

static u64 read_clock(void) {
  u64 ns;
  u32 used = ask(READ, 16, 0, 16);
  memcpy(&ns, answer + 8, 8);
  expect(used == 16 && answer[0] == OK, "READ: %u bytes, status %u", used, answer[0]);
  return ns;
}

void payload(void) {
  if (!virtio_open(&device, VIRTIO_RTC, 0)) fail("no clock device");
  expect(device.config == 0, "there is a device configuration");
  expect(virtio_offered(&device) == FEATURE_VERSION_1, "offered: %lx", virtio_offered(&device));
  virtio_negotiate(&device, ~0ull);
  expect(virtio_queue_max(&device, 0) == 256 && virtio_queue_max(&device, 1) == 0, "wrong queues");
  virtio_queue_init(&queue, &device, 0, 0);
  virtio_driver_ok(&device);
  request = allocate(64, 64), answer = allocate(64, 64);
  for (u32 i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    u32 used = ask(cases[i].type, cases[i].length, cases[i].clock, cases[i].room);
    expect(used == cases[i].used && answer[0] == cases[i].status, "%s: %u bytes, status %u", cases[i].what, used,
           answer[0]);
  }
  u64 body;
  ask(CFG, 8, 0, 16), memcpy(&body, answer + 8, 8);
  expect(body == 1, "CFG tells of %lx clocks", body);
  ask(CLOCK_CAP, 16, 0, 16), memcpy(&body, answer + 8, 8);
  expect(body == 4, "CLOCK_CAP tells %lx", body);
  ask(CROSS_CAP, 16, 0, 16), memcpy(&body, answer + 8, 8);
  expect(body == 0, "CROSS_CAP tells %lx", body);
  u64 first = read_clock(), seconds = first / 1000000000, now = param_number("now", 0);
  expect(seconds >= now && seconds < now + 60, "the clock says %lu, the host said %lu", seconds, now);
  for (u32 i = 0; i < 1000; i++) {
    u64 next = read_clock();
    expect(next >= first, "the clock went back by %lu ns", first - next);
    first = next;
  }
  print("RESULT seconds=%lu\n", seconds);
}
