// Each way to reset the machine, on demand: prints BOOT, then obeys a byte from the serial port: a ACPI reset register,
// i keyboard controller, c CMOS shutdown status, t triple fault, q power off. RAM must be clean at every start.
#include "runtime/runtime.h"

#define MARK 0x1122334455667788

void payload(void) {
  volatile u64 *mark = allocate(4096, 4096);
  expect(*mark == 0, "RAM kept %lx over the reset", *mark);
  *mark = MARK;
  print("BOOT\n");
  u8 command = serial_wait(60000000000);
  if (command == 'q') return;
  if (command == 'a') out8(0x600, 0x01);
  if (command == 'i') out8(0x64, 0xfe);
  if (command == 'c') out8(0x70, 0x8f), out8(0x71, 0x00);
  if (command == 't') kernel_call(triple_fault, 0);
  spin_ns(5000000000);
  fail("the machine survived reset %c", command);
}
