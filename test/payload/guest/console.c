// virtio-console: says READY on the console, then sends every byte back, until a line "quit". A change of the window size is
// reported as a line "SIZE columns rows". Parameter: wait (seconds without input before giving up).
#include "runtime/console.h"
#include "runtime/runtime.h"

void payload(void) {
  static struct console console;
  static u8 input[64];
  if (!console_open(&console)) fail("no console device");
  console_say(&console, "READY size=%u,%u\n", console.last_size & 0xffff, console.last_size >> 16);
  u32 matched = 0;
  u64 total = 0, patience = param_number("wait", 30) * 1000000000, deadline = now_ns() + patience;
  while (matched < 5) {
    u32 length = console_receive(&console, input, 10000000);
    console_report_size(&console);
    if (length == 0) {
      if (now_ns() > deadline) fail("no input");
      continue;
    }
    deadline = now_ns() + patience;
    total += length;
    console_send(&console, input, length);
    for (u32 i = 0; i < length && matched < 5; i++)
      matched = input[i] == "quit\n"[matched] ? matched + 1 : input[i] == 'q';
  }
  console_say(&console, "PASS\n");
  print("RESULT bytes=%lu\n", total);
}
