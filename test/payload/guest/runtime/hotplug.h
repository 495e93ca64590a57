// The registers behind PCI hotplug: the event register of the GED and the PCI hotplug controller.
#pragma once
#include "runtime.h"

enum { EVENT_CPU = 1, EVENT_MEMORY = 2, EVENT_PCI = 4, EVENT_POWER_BUTTON = 8 };
enum { HOTPLUG_PLUGGED = 0, HOTPLUG_UNPLUG = 4, HOTPLUG_EJECT = 8, HOTPLUG_SEGMENT = 12 };

// Finds the registers in the DSDT; fails when it does not declare them.
void hotplug_init(void);
u32 hotplug_read(u32 offset);
void hotplug_write(u32 offset, u32 value);
// Polls the event register until one of these events is there; returns all that were.
u8 wait_for_events(u8 events);
