// Serial port, virtio-console and debug console at the same time. The console and the serial port send back what comes in; a
// line on the serial port is a command:
//   flood N    N lines of 64 bytes on the serial port, then "FLOODED" with how long one byte took at most, on both
//   pour N     N lines of 64 bytes on the console, then "POURED" on the serial port
//   deaf N     reads nothing for N milliseconds
//   debug      a line on the debug console
//   reset      resets the machine
//   quit       powers off
// The console is said to be up on the console, the machine on the serial port.
#include "runtime/console.h"
#include "runtime/runtime.h"

#define SERIAL 0x3f8
#define LINE 64

static struct console console;
static bool has_console;

static void number_line(char *line, u64 number) {
  memset(line, '.', LINE);
  for (int i = 8; i-- > 0; number /= 10) line[i] = '0' + number % 10;
  line[LINE - 1] = '\n';
}

static void flood(u64 lines) {
  char line[LINE];
  u64 start = now_ns(), last = start, longest = 0;
  for (u64 i = 0; i < lines; i++) {
    number_line(line, i);
    for (u32 at = 0; at < LINE; at++) {
      out8(SERIAL, line[at]);
      u64 now = now_ns();
      if (now - last > longest) longest = now - last;
      last = now;
    }
  }
  u64 total = last - start;
  if (has_console) console_say(&console, "FLOODED longest_us=%lu total_us=%lu\n", longest / 1000, total / 1000);
  print("FLOODED longest_us=%lu total_us=%lu\n", longest / 1000, total / 1000);
}

static void pour(u64 lines) {
  static char block[8 * LINE];
  u64 start = now_ns();
  for (u64 i = 0; i < lines; i += 8) {
    for (u32 at = 0; at < 8; at++) number_line(block + at * LINE, i + at);
    console_send(&console, (const u8 *)block, sizeof block);
  }
  print("POURED total_us=%lu\n", (now_ns() - start) / 1000);
}

static u64 number(const char *text) {
  u64 value = 0;
  for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + *text - '0';
  return value;
}

static bool starts(const char *text, const char *with) { return memcmp(text, with, strlen(with)) == 0; }

// Whether to go on.
static bool obey(const char *command) {
  if (starts(command, "flood ")) flood(number(command + 6));
  else if (starts(command, "pour ")) pour(number(command + 5));
  else if (starts(command, "deaf ")) spin_ns(number(command + 5) * 1000000);
  else if (starts(command, "debug"))
    for (const char *at = "debug console\n"; *at; at++) out8(0xe9, *at);
  else if (starts(command, "reset")) out8(0x600, 1);
  else if (starts(command, "quit")) return false;
  return true;
}

void payload(void) {
  static char command[256];
  static u8 input[64];
  u32 length = 0;
  has_console = console_open(&console);
  if (has_console) console_say(&console, "CONSOLE UP %u,%u\n", console.last_size & 0xffff, console.last_size >> 16);
  print("MACHINE UP\n");
  for (;;) {
    int byte = serial_poll();
    if (byte >= 0) {
      out8(SERIAL, byte);
      if (byte == '\n') {
        command[length] = 0;
        if (!obey(command)) return;
        length = 0;
      } else if (length < sizeof command - 1) command[length++] = byte;
      continue;
    }
    if (has_console) {
      u32 count = console_receive(&console, input, 1000000);
      if (count) console_send(&console, input, count);
      console_report_size(&console);
    } else spin_ns(100000);
  }
}
