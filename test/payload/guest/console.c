// virtio-console: says READY on the console, then sends every byte back, until a line "quit". A change of the window size is
// reported as a line "SIZE columns rows". Parameter: wait (seconds without input before giving up).
#include "runtime/virtio.h"

#define CONSOLE_F_SIZE 1

static struct virtio_device device;
static struct virtqueue receive, transmit;

static void send(const u8 *bytes, u32 length) {
  static u8 copy[512];
  memcpy(copy, bytes, length);
  struct buffer buffer = {copy, length};
  if (virtq_add(&transmit, &buffer, 1, 0) < 0) fail("no free transmit descriptor");
  virtq_kick(&transmit);
  if (virtq_wait(&transmit, NULL, 10000000000) < 0) fail("the console does not take output");
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  char line[200];
  va_list arguments;
  va_start(arguments, format);
  int length = vformat(line, sizeof line, format, arguments);
  va_end(arguments);
  send((const u8 *)line, length);
}

static u32 size(void) {
  u8 before;
  u32 value;
  do {
    before = read8(device.common + COMMON_GENERATION);
    value = read32(device.config);
  } while (read8(device.common + COMMON_GENERATION) != before);
  return value;
}

void payload(void) {
  static u8 input[4][64];
  if (!virtio_open(&device, VIRTIO_CONSOLE, 0)) fail("no console device");
  virtio_negotiate(&device, CONSOLE_F_SIZE);
  virtio_queue_init(&receive, &device, 0, 0);
  virtio_queue_init(&transmit, &device, 1, 0);
  virtio_driver_ok(&device);
  bool has_size = device.features & CONSOLE_F_SIZE;
  u32 last_size = has_size ? size() : 0;
  int heads[4];
  for (u32 i = 0; i < 4; i++) {
    struct buffer buffer = {input[i], sizeof input[i]};
    heads[i] = virtq_add(&receive, &buffer, 0, 1);
  }
  virtq_kick(&receive);
  say("READY size=%u,%u\n", last_size & 0xffff, last_size >> 16);
  u32 matched = 0;
  u64 total = 0, patience = param_number("wait", 30) * 1000000000, deadline = now_ns() + patience;
  while (matched < 5) {
    u32 length = 0;
    int head = virtq_wait(&receive, &length, 10000000);
    if (has_size) {
      u32 now = size();
      if (now != last_size) say("SIZE %u %u\n", now & 0xffff, now >> 16);
      last_size = now;
    }
    if (head < 0) {
      if (now_ns() > deadline) fail("no input");
      continue;
    }
    deadline = now_ns() + patience;
    u32 slot = 0;
    while (slot < 4 && heads[slot] != head) slot++;
    if (slot == 4 || length == 0 || length > sizeof input[0]) fail("used element %d of length %u", head, length);
    total += length;
    send(input[slot], length);
    for (u32 i = 0; i < length && matched < 5; i++)
      matched = input[slot][i] == "quit\n"[matched] ? matched + 1 : input[slot][i] == 'q';
    struct buffer buffer = {input[slot], sizeof input[slot]};
    heads[slot] = virtq_add(&receive, &buffer, 0, 1);
    virtq_kick(&receive);
  }
  say("PASS\n");
  print("RESULT bytes=%lu\n", total);
}
