// What a payload sees of the machine: no libc, one address space (identity-mapped), every processor at level 3 with
// port I/O allowed (level 0 only through kernel_call and in interrupt handlers).
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

// ---- instructions

static inline u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline u16 in16(u16 port) {
  u16 value;
  __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline u32 in32(u16 port) {
  u32 value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static inline void outs8(u16 port, const void *bytes, size_t length) {
  __asm__ volatile("rep outsb" : "+S"(bytes), "+c"(length) : "d"(port) : "memory");
}

// Exactly one access of the given width, whatever the compiler would prefer.
static inline u8 read8(u64 address) {
  u8 value;
  __asm__ volatile("movb (%1), %0" : "=q"(value) : "r"(address) : "memory");
  return value;
}
static inline u16 read16(u64 address) {
  u16 value;
  __asm__ volatile("movw (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
static inline u32 read32(u64 address) {
  u32 value;
  __asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
static inline u64 read64(u64 address) {
  u64 value;
  __asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
static inline void write8(u64 address, u8 value) {
  __asm__ volatile("movb %0, (%1)" ::"q"(value), "r"(address) : "memory");
}
static inline void write16(u64 address, u16 value) {
  __asm__ volatile("movw %0, (%1)" ::"r"(value), "r"(address) : "memory");
}
static inline void write32(u64 address, u32 value) {
  __asm__ volatile("movl %0, (%1)" ::"r"(value), "r"(address) : "memory");
}
static inline void write64(u64 address, u64 value) {
  __asm__ volatile("movq %0, (%1)" ::"r"(value), "r"(address) : "memory");
}

static inline u64 rdtsc(void) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (u64)high << 32 | low;
}
static inline void cpu_relax(void) { __asm__ volatile("pause" ::: "memory"); }
// x86 orders loads with loads and stores with stores; only a store followed by a load of another address needs a fence.
static inline void compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }
static inline void full_barrier(void) { __asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc"); }

// Level 0 only: use inside a function given to kernel_call.
u64 rdmsr(u32 msr);
void wrmsr(u32 msr, u64 value);

// ---- memory

void *memset(void *to, int byte, size_t length);
void *memcpy(void *to, const void *from, size_t length);
int memcmp(const void *a, const void *b, size_t length);
size_t strlen(const char *text);
bool streq(const char *a, const char *b);

// Zeroed guest RAM that is never given back; alignment is a power of two. The payload fails when RAM is used up.
void *allocate(size_t size, size_t alignment);
// Makes an address above 4 GiB accessible (2 MiB pages); below, everything already is.
void map_range(u64 address, u64 size);

struct memory_range {
  u64 address, size;
  u32 type, reserved;
};
// The PVH memory map (hvm_memmap_table_entry).
const struct memory_range *memory_map(u32 *entries);
u64 ram_top_below_4g(void);

// ---- command line: space-separated key=value

const char *cmdline(void);
// The value of a key copied to static storage of that key's first use, or the default.
const char *param(const char *key, const char *otherwise);
bool param_is(const char *key, const char *value);
// Decimal or 0x-hexadecimal, with an optional K, M or G.
u64 param_number(const char *key, u64 otherwise);

// ---- output: whole lines, to where `out=` says: serial (default), 402 (firmware debug port), e9 (debug console)

__attribute__((format(printf, 1, 2))) void print(const char *format, ...);
// Prints "FAIL <text>" and goes on; the payload then cannot pass.
__attribute__((format(printf, 1, 2))) void report_failure(const char *format, ...);
// Prints "FAIL <text>" and powers off.
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);
u32 failures(void);
#define expect(condition, ...)                                                                                         \
  do {                                                                                                                 \
    if (!(condition)) report_failure(__VA_ARGS__);                                                                     \
  } while (0)
int vformat(char *to, size_t size, const char *format, va_list arguments);

// The next byte that came in on the serial port, or -1.
int serial_poll(void);
// Waits for a byte; fails when none comes within the time.
u8 serial_wait(u64 ns);

// ---- time

u64 now_ns(void);
void spin_ns(u64 ns);
const char *time_source(void);

// ---- levels, interrupts

long kernel_call(long (*function)(long), long argument);
struct cpuid {
  u32 eax, ebx, ecx, edx;
};
struct cpuid cpuid(u32 leaf, u32 subleaf);

// Free vectors are FIRST_FREE_VECTOR to VECTORS - 1. The handler runs at level 0; the LAPIC EOI is given afterwards.
#define FIRST_FREE_VECTOR 0x21
void set_interrupt_handler(u8 vector, void (*handler)(void *), void *argument);
// How often the vector was taken, on all processors.
u64 interrupt_count(u8 vector);
// Enables the local APIC of this processor (needed before any interrupt or start-up IPI).
void lapic_enable(void);
u32 lapic_id(void);
// Halts with interrupts open until interrupt_count(vector) differs from `seen`. No time-out: pair it with a timer.
void wait_for_interrupt(u8 vector, u64 seen);
// One-shot LAPIC timer on TIMER_VECTOR, so that a halted wait always ends.
#define TIMER_VECTOR 0x20
void timer_start_ns(u64 ns);
void timer_stop(void);
// Halts until the vector is taken or the time is up; true when it was taken.
bool wait_for_interrupt_ns(u8 vector, u64 seen, u64 ns);
void ioapic_write(u32 index, u32 value);
u32 ioapic_read(u32 index);
// Edge, active high, fixed delivery to this processor.
void ioapic_route(u32 pin, u8 vector);

// ---- processors

struct cpu {
  u32 index;
  u32 apic_id;
  volatile u32 online;
  void (*volatile job)(void *);
  void *volatile argument;
  volatile u32 running;
};
struct cpu *this_cpu(void);
struct cpu *cpu_at(u32 index);
// Starts the application processors listed in the MADT, at most `wanted` in all; returns how many processors run.
u32 start_processors(u32 wanted);
// Runs the function on every started processor, this one included, and returns when all are done.
void run_on_all(u32 processors, void (*job)(void *), void *argument);

typedef struct {
  volatile u32 taken;
} spinlock;
void spin_lock(spinlock *lock);
void spin_unlock(spinlock *lock);

// ---- firmware tables

struct start_info {
  u32 magic, version, flags, nr_modules;
  u64 modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
  u32 memmap_entries, reserved;
};
const struct start_info *start_info(void);
// The table with this signature through the XSDT (or RSDT), or NULL.
const u8 *acpi_table(const char *signature);
// Address of the operation region in system memory that the DSDT declares under this name, mapped; 0 without one.
u64 acpi_region(const char *name);

// ---- end

__attribute__((noreturn)) void power_off(void);
// For kernel_call: an exception without an interrupt table.
long triple_fault(long unused);

// A payload: its return ends the guest, with "PASS" when nothing was reported as failed.
void payload(void);
