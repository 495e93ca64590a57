// virtio-console (VIRTIO 1.2: 5.3).
#pragma once
#include "virtio.h"

struct console {
  struct virtio_device device;
  struct virtqueue receive, transmit;
  bool has_size;
  u32 last_size;
  u8 input[4][64];
  int heads[4];
};

// Opens the console device, with buffers for input; false when there is none.
bool console_open(struct console *console);
// At most 512 bytes. Fails when the device does not take them.
void console_send(struct console *console, const u8 *bytes, u32 length);
__attribute__((format(printf, 2, 3))) void console_say(struct console *console, const char *format, ...);
// Columns in the low half, rows in the high half.
u32 console_size(struct console *console);
// Says "SIZE columns rows" when the size is another than the last time.
void console_report_size(struct console *console);
// Waits for input, which is copied to `to` (64 bytes); returns how much there was.
u32 console_receive(struct console *console, u8 *to, u64 ns);
