// Constants shared by assembly and C.
#pragma once

#define MAX_CPUS 16
// One aligned block a processor: struct cpu, then its level-0 stack, then its level-3 stack.
#define CPU_BLOCK_SIZE 0x10000
#define KERNEL_STACK_TOP 0x6000
#define USER_STACK_TOP 0x10000

// Interrupt vectors with an entry: 32 exceptions and 32 free ones. Few, because filling the table is level-0 code.
#define VECTORS 64

// The selectors are Linux's own: where level 3 runs under a paravirtual KVM without hardware support, a selector loaded
// there is looked up in the host's table.
#define KERNEL_CS32 0x08
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_DS 0x2b
#define USER_CS 0x33
#define FIRST_TSS 0x40
#define GDT_SIZE (FIRST_TSS + MAX_CPUS * 16)

// IOPL 3, IF
#define USER_RFLAGS 0x3202

// Below 64 KiB, so that 16-bit code reaches it, and clear of what a boot loader puts there.
#define AP_TRAMPOLINE 0x9000
