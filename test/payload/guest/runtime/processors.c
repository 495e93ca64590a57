// Local APIC, IOAPIC, start of the application processors, locks.
#include "internal.h"

#define LAPIC 0xfee00000
#define IOAPIC 0xfec00000

enum { ID = 0x20, EOI = 0xb0, SVR = 0xf0, ICR_LOW = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320, INITIAL_COUNT = 0x380,
       DIVIDE = 0x3e0 };

extern u32 ap_stack;
extern u8 ap_trampoline[], ap_trampoline_end[];
static volatile bool x2apic;

void spin_lock(spinlock *lock) {
  while (__atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE))
    while (lock->taken) cpu_relax();
}

void spin_unlock(spinlock *lock) { __atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE); }

static long msr_write_call(long argument) {
  const u64 *pair = (const u64 *)argument;
  wrmsr(pair[0], pair[1]);
  return 0;
}
static long msr_read_call(long msr) { return rdmsr(msr); }

static void lapic_write(u32 offset, u32 value) {
  if (x2apic) {
    u64 pair[2] = {0x800 + offset / 16, value};
    kernel_call(msr_write_call, (long)pair);
  } else {
    write32(LAPIC + offset, value);
  }
}

static u32 lapic_read(u32 offset) {
  return x2apic ? (u32)kernel_call(msr_read_call, 0x800 + offset / 16) : read32(LAPIC + offset);
}

void lapic_eoi(void) { lapic_write(EOI, 0); }

u32 lapic_id(void) { return x2apic ? lapic_read(ID) : lapic_read(ID) >> 24; }

void lapic_enable(void) {
  u64 base = kernel_call(msr_read_call, 0x1b);
  if (param_is("apic", "x2apic") && !(base & 0x400)) {
    u64 pair[2] = {0x1b, base | 0xc00};
    kernel_call(msr_write_call, (long)pair);
    base |= 0x400;
  }
  if (base & 0x400) x2apic = true;
  lapic_write(SVR, 0x100 | (VECTORS - 1));
}

static void send_ipi(u32 apic_id, u32 command) {
  if (x2apic) {
    u64 pair[2] = {0x830, (u64)apic_id << 32 | command};
    kernel_call(msr_write_call, (long)pair);
  } else {
    lapic_write(ICR_HIGH, apic_id << 24);
    lapic_write(ICR_LOW, command);
  }
}

// ---- waiting

struct wait {
  u8 vector;
  u64 seen;
  const volatile u64 *deadline_vector_count;
  u64 deadline_seen;
};

static long halt_call(long argument) {
  const struct wait *wait = (const struct wait *)argument;
  // The check and HLT are one step: STI opens interrupts only after the instruction that follows it.
  while (interrupt_count(wait->vector) == wait->seen && interrupt_count(TIMER_VECTOR) == wait->deadline_seen)
    __asm__ volatile("sti; hlt; cli" ::: "memory");
  return 0;
}

void wait_for_interrupt(u8 vector, u64 seen) {
  struct wait wait = {.vector = vector, .seen = seen, .deadline_seen = interrupt_count(TIMER_VECTOR)};
  kernel_call(halt_call, (long)&wait);
}

// The timer's clock is measured once against the time stamp counter, since nothing announces it reliably.
static u64 timer_ticks_per_ms(void) {
  static u64 ticks;
  if (ticks == 0) {
    lapic_write(LVT_TIMER, 0x10000);
    lapic_write(DIVIDE, 0xb);  // by 1
    lapic_write(INITIAL_COUNT, 0xffffffff);
    u64 start = now_ns();
    u32 before = lapic_read(0x390);
    spin_ns(5000000);
    u32 after = lapic_read(0x390);
    ticks = (u64)(before - after) * 1000000 / (now_ns() - start);
    lapic_write(INITIAL_COUNT, 0);
    if (ticks == 0) fail("the local APIC timer does not count");
  }
  return ticks;
}

void timer_start_ns(u64 ns) {
  u64 per_ms = timer_ticks_per_ms();
  // The divider stretches the 32-bit count to long waits.
  lapic_write(DIVIDE, 0xa);  // by 128
  u64 count = ns / 1000 * per_ms / 1000 / 128;
  lapic_write(LVT_TIMER, TIMER_VECTOR);
  lapic_write(INITIAL_COUNT, count > 0xffffffff ? 0xffffffff : count == 0 ? 1 : (u32)count);
}

void timer_stop(void) {
  lapic_write(LVT_TIMER, 0x10000);
  lapic_write(INITIAL_COUNT, 0);
}

bool wait_for_interrupt_ns(u8 vector, u64 seen, u64 ns) {
  struct wait wait = {.vector = vector, .seen = seen, .deadline_seen = interrupt_count(TIMER_VECTOR)};
  timer_start_ns(ns);
  kernel_call(halt_call, (long)&wait);
  timer_stop();
  return interrupt_count(vector) != seen;
}

// ---- IOAPIC

static spinlock ioapic_lock;

void ioapic_write(u32 index, u32 value) {
  spin_lock(&ioapic_lock);
  write32(IOAPIC, index);
  write32(IOAPIC + 0x10, value);
  spin_unlock(&ioapic_lock);
}

u32 ioapic_read(u32 index) {
  spin_lock(&ioapic_lock);
  write32(IOAPIC, index);
  u32 value = read32(IOAPIC + 0x10);
  spin_unlock(&ioapic_lock);
  return value;
}

void ioapic_route(u32 pin, u8 vector) {
  ioapic_write(0x10 + pin * 2, 0x10000);
  ioapic_write(0x11 + pin * 2, lapic_id() << 24);
  ioapic_write(0x10 + pin * 2, vector);
}

// ---- application processors

void ap_start(void) {
  struct cpu *cpu = this_cpu();
  lapic_enable();
  cpu->online = 1;
  for (;;) {
    void (*job)(void *) = cpu->job;
    if (job) {
      job(cpu->argument);
      cpu->job = NULL;
      compiler_barrier();
      cpu->running = 0;
    }
    cpu_relax();
  }
}

static bool start_processor(struct cpu *cpu) {
  ap_stack = (u64)cpu + KERNEL_STACK_TOP;
  full_barrier();
  send_ipi(cpu->apic_id, 0x4500);                            // INIT, assert
  send_ipi(cpu->apic_id, 0x4600 | AP_TRAMPOLINE >> 12);      // start-up
  u64 deadline = now_ns() + 5000000000;
  while (!cpu->online && now_ns() < deadline) cpu_relax();
  return cpu->online;
}

u32 start_processors(u32 wanted) {
  u32 count = 1;
  struct cpu *boot = this_cpu();
  lapic_enable();
  boot->apic_id = lapic_id();
  boot->online = 1;
  memcpy((void *)AP_TRAMPOLINE, ap_trampoline, ap_trampoline_end - ap_trampoline);
  const u8 *madt = acpi_table("APIC");
  if (!madt) fail("no MADT");
  u32 length = read32((u64)madt + 4);
  for (u32 at = 44; at + 2 <= length && count < wanted && count < MAX_CPUS; at += madt[at + 1]) {
    if (madt[at + 1] == 0) fail("MADT entry of length 0");
    u32 id, flags;
    if (madt[at] == 0)
      id = madt[at + 3], flags = read32((u64)madt + at + 4);
    else if (madt[at] == 9)
      id = read32((u64)madt + at + 4), flags = read32((u64)madt + at + 8);
    else
      continue;
    if (!(flags & 1) || id == boot->apic_id) continue;
    struct cpu *cpu = cpu_at(count);
    cpu->index = count;
    cpu->apic_id = id;
    if (!start_processor(cpu)) fail("processor with APIC ID %u did not start", id);
    count++;
  }
  return count;
}

void run_on_all(u32 processors, void (*job)(void *), void *argument) {
  for (u32 i = 1; i < processors; i++) {
    struct cpu *cpu = cpu_at(i);
    cpu->argument = argument;
    cpu->running = 1;
    compiler_barrier();
    cpu->job = job;
  }
  job(argument);
  for (u32 i = 1; i < processors; i++)
    while (cpu_at(i)->running) cpu_relax();
}
