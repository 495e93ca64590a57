// Prints the VM generation identifier, and obeys a byte from the serial port: a resets the machine, q powers off.
#include "runtime/runtime.h"

#define IDENTIFIER 0xff000

void payload(void) {
  print("ID %lx-%lx\n", read64(IDENTIFIER), read64(IDENTIFIER + 8));
  for (u32 at = 16; at < 4096; at += 8) expect(read64(IDENTIFIER + at) == 0, "there is something else in the page at %x", at);
  if (serial_wait(60000000000) == 'q') return;
  out8(0x600, 0x01);
  spin_ns(5000000000);
  fail("the machine survived the reset");
}
