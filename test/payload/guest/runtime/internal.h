// Shared between the runtime's own files.
#pragma once
#include "runtime.h"

void print_init(void);
void time_init(void);
void lapic_eoi(void);
void ap_start(void);
