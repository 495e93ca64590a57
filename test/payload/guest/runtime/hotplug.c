#include "hotplug.h"

static u64 ged, controller;

void hotplug_init(void) {
  ged = acpi_region("GDST");
  controller = acpi_region("PCST");
  if (!ged || !controller) fail("the DSDT declares no hotplug registers");
}

u32 hotplug_read(u32 offset) { return read32(controller + offset); }
void hotplug_write(u32 offset, u32 value) { write32(controller + offset, value); }

u8 wait_for_events(u8 events) {
  u8 seen = 0;
  for (;;) {
    seen |= read8(ged);
    if (seen & events) return seen;
    spin_ns(1000000);
  }
}
