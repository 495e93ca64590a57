// N port exits in a tight loop: what an exit costs. Parameters: port, count, op=out|in.
#include "runtime/runtime.h"

static void run(u16 port, u64 count, bool write) {
  u8 value = 0;
  if (write)
    for (u64 i = 0; i < count; i++) out8(port, value);
  else
    for (u64 i = 0; i < count; i++) value += in8(port);
  compiler_barrier();
}

void payload(void) {
  u16 port = param_number("port", 0x3ff);  // the serial port's scratch register
  u64 count = param_number("count", 10000);
  u64 rounds = param_number("rounds", 21);
  bool write = !param_is("op", "in");
  u64 ns[101];
  if (rounds == 0 || rounds > 101) fail("rounds must be 1 to 101");
  run(port, count, write);  // warm-up
  for (u64 round = 0; round < rounds; round++) {
    u64 start = now_ns();
    run(port, count, write);
    u64 taken = (now_ns() - start) / count;
    u64 at = round;
    for (; at > 0 && ns[at - 1] > taken; at--) ns[at] = ns[at - 1];
    ns[at] = taken;
  }
  print("RESULT port=%x count=%lu rounds=%lu median_ns=%lu min_ns=%lu max_ns=%lu\n", port, count, rounds,
        ns[rounds / 2], ns[0], ns[rounds - 1]);
}
