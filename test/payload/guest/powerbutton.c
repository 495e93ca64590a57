// ACPI power button: GED interrupt on GSI 13, waited for with HLT; the event register names it and is cleared by the read.
// Parameter: presses. Prints READY and a count before each wait.
#include "runtime/runtime.h"

#define VECTOR 0x30

void payload(void) {
  u64 ged = acpi_region("GDST");
  if (!ged) fail("the DSDT declares no GDST region");
  lapic_enable();
  ioapic_route(13, VECTOR);
  expect(read8(ged) == 0, "an event is pending at boot");
  u64 presses = param_number("presses", 1);
  for (u64 i = 0; i < presses; i++) {
    u64 seen = interrupt_count(VECTOR);
    print("READY %lu\n", i);
    if (!wait_for_interrupt_ns(VECTOR, seen, 30000000000)) fail("no interrupt within 30 s");
    u8 events = read8(ged);
    expect(events == 8, "the event register reads %x", events);
    expect(read8(ged) == 0, "reading does not clear the event register");
  }
  print("RESULT presses=%lu interrupts=%lu\n", presses, interrupt_count(VECTOR));
}
