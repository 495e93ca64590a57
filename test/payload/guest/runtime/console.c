#include "console.h"

#include "runtime.h"

#define CONSOLE_F_SIZE 1

void console_send(struct console *console, const u8 *bytes, u32 length) {
  static u8 copy[512];
  memcpy(copy, bytes, length);
  struct buffer buffer = {copy, length};
  if (virtq_add(&console->transmit, &buffer, 1, 0) < 0) fail("no free transmit descriptor");
  virtq_kick(&console->transmit);
  if (virtq_wait(&console->transmit, NULL, 10000000000) < 0) fail("the console does not take output");
}

void console_say(struct console *console, const char *format, ...) {
  char line[200];
  va_list arguments;
  va_start(arguments, format);
  int length = vformat(line, sizeof line, format, arguments);
  va_end(arguments);
  console_send(console, (const u8 *)line, length);
}

u32 console_size(struct console *console) {
  u8 before;
  u32 value;
  do {
    before = read8(console->device.common + COMMON_GENERATION);
    value = read32(console->device.config);
  } while (read8(console->device.common + COMMON_GENERATION) != before);
  return value;
}

static void offer(struct console *console, u32 slot) {
  struct buffer buffer = {console->input[slot], sizeof console->input[slot]};
  console->heads[slot] = virtq_add(&console->receive, &buffer, 0, 1);
}

bool console_open(struct console *console) {
  if (!virtio_open(&console->device, VIRTIO_CONSOLE, 0)) return false;
  virtio_negotiate(&console->device, CONSOLE_F_SIZE);
  virtio_queue_init(&console->receive, &console->device, 0, 0);
  virtio_queue_init(&console->transmit, &console->device, 1, 0);
  virtio_driver_ok(&console->device);
  console->has_size = console->device.features & CONSOLE_F_SIZE;
  console->last_size = console->has_size ? console_size(console) : 0;
  for (u32 i = 0; i < 4; i++) offer(console, i);
  virtq_kick(&console->receive);
  return true;
}

void console_report_size(struct console *console) {
  if (!console->has_size) return;
  u32 now = console_size(console);
  if (now != console->last_size) console_say(console, "SIZE %u %u\n", now & 0xffff, now >> 16);
  console->last_size = now;
}

u32 console_receive(struct console *console, u8 *to, u64 ns) {
  u32 length = 0, slot = 0;
  int head = virtq_wait(&console->receive, &length, ns);
  if (head < 0) return 0;
  while (slot < 4 && console->heads[slot] != head) slot++;
  if (slot == 4 || length == 0 || length > sizeof console->input[0]) fail("used element %d of length %u", head, length);
  memcpy(to, console->input[slot], length);
  offer(console, slot);
  virtq_kick(&console->receive);
  return length;
}
