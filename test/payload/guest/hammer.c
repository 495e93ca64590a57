// Every processor hammers one serial port, one PCI function's configuration space and one IOAPIC at once.
// Parameters: cpus, seconds. Three kinds of check, none of which needs luck to be valid:
//  - shared registers, no lock in the guest: every processor writes values that name their writer and its count, and
//    every value read must be one that the register can have held between the start and the end of the read;
//  - bytes of one register, one owner each, no lock: what the owner wrote is what it reads, whatever its neighbours do;
//  - read-modify-write and index/data pairs under a guest lock: a counter kept in the device never misses a step.
// Complaints are kept until the end, since the serial port is busy.
#include "runtime/pci.h"

#define WRITERS 4
#define LOG 256

struct log_entry {
  volatile u64 begin, end;
};

struct writer {
  volatile u64 begun, done;
  struct log_entry log[LOG];
} __attribute__((aligned(64)));

struct shared_register {
  const char *name;
  u32 counter_bits;
  void (*write)(u32 tag);
  // The tag in the register, or -1 when the value is none that anybody can have written.
  int64_t (*read)(void);
  struct writer writers[WRITERS];
  volatile u64 reads;
};

static volatile u64 clock;
static spinlock complaint_lock, serial_lock, cf8_lock, ioapic_lock;
static char complaints[8][200];
static volatile u32 complaint_count;
static u32 processors;
static u64 deadline_ns;
static pci_function function;
static u64 ecam, window;

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...) {
  spin_lock(&complaint_lock);
  if (complaint_count < 8) {
    va_list arguments;
    va_start(arguments, format);
    vformat(complaints[complaint_count], sizeof complaints[0], format, arguments);
    va_end(arguments);
  }
  complaint_count++;
  spin_unlock(&complaint_lock);
}

// Later stamps are later in time, on whatever processor they are taken.
static u64 stamp(void) { return __atomic_add_fetch(&clock, 1, __ATOMIC_SEQ_CST); }

// ---- shared registers

static void write_scratch(u32 tag) { out8(0x3ff, tag); }
static int64_t read_scratch(void) { return in8(0x3ff); }
static void write_divisor_low(u32 tag) { out8(0x3f8, tag); }
static int64_t read_divisor_low(void) { return in8(0x3f8); }
static void write_cache_line(u32 tag) { write8(ecam + PCI_CACHE_LINE, tag); }
static int64_t read_cache_line(void) { return read8(ecam + PCI_CACHE_LINE); }
static void write_window_length(u32 tag) { write32(window + 12, tag | ~tag << 16); }
static int64_t read_window_length(void) {
  u32 value = read32(window + 12);
  return (value & 0xffff) == (~value >> 16) ? (int64_t)(value & 0xffff) : -1;
}
// 512 KiB BAR, decoding off: bits 31:19 hold the tag.
static void write_bar(u32 tag) { write32(ecam + PCI_BAR0, tag << 19); }
static int64_t read_bar(void) {
  u32 value = read32(ecam + PCI_BAR0);
  return (value & 0x7fff0) == 0 ? (int64_t)(value >> 19) : -1;
}

static struct shared_register shared[] = {
    {.name = "serial scratch", .counter_bits = 6, .write = write_scratch, .read = read_scratch},
    {.name = "serial divisor low", .counter_bits = 6, .write = write_divisor_low, .read = read_divisor_low},
    {.name = "PCI cache line", .counter_bits = 6, .write = write_cache_line, .read = read_cache_line},
    {.name = "PCI window length", .counter_bits = 14, .write = write_window_length, .read = read_window_length},
    {.name = "PCI BAR 0", .counter_bits = 11, .write = write_bar, .read = read_bar},
};
// Without the BAR, the last one, where BAR 0 is no memory BAR of 512 KiB (QEMU).
static u32 shared_count = sizeof shared / sizeof shared[0];

static void write_shared(struct shared_register *reg, u32 cpu) {
  struct writer *writer = &reg->writers[cpu];
  u64 n = writer->begun + 1;
  struct log_entry *entry = &writer->log[n % LOG];
  entry->end = ~0ull;
  entry->begin = stamp();
  writer->begun = n;
  full_barrier();
  reg->write(cpu << reg->counter_bits | (n & ((1u << reg->counter_bits) - 1)));
  full_barrier();
  entry->end = stamp();
  writer->done = n;
}

static void read_shared(struct shared_register *reg) {
  u64 done[WRITERS];
  for (u32 i = 0; i < WRITERS; i++) done[i] = reg->writers[i].done;
  u64 start = stamp();
  int64_t tag = reg->read();
  full_barrier();
  if (tag < 0 || tag >> reg->counter_bits >= WRITERS) {
    complain("%s reads a value that nobody wrote", reg->name);
    return;
  }
  u32 who = tag >> reg->counter_bits;
  u64 modulus = 1ull << reg->counter_bits;
  u64 begun = reg->writers[who].begun;
  // The writer's write that it must be: not older than its last one done before the read, not younger than now.
  u64 n = done[who] + ((tag - done[who]) & (modulus - 1));
  if (n > begun) {
    complain("%s: processor %u reads write %lx of processor %u, which had done %lu and begun %lu", reg->name,
             this_cpu()->index, (u64)tag & (modulus - 1), who, done[who], begun);
    return;
  }
  if (begun - done[who] >= modulus || begun - n >= LOG / 2) return;
  u64 end = reg->writers[who].log[n % LOG].end;
  if (n == 0) end = 0;
  if (end >= start) return;
  // It was complete before the read: then no other write may lie wholly between the two.
  for (u32 i = 0; i < WRITERS; i++) {
    if (i == who || done[i] == 0) continue;
    u64 begin = reg->writers[i].log[done[i] % LOG].begin;
    if (reg->writers[i].begun - done[i] >= LOG / 2) continue;
    if (begin > end)
      complain("%s: processor %u reads write %lu of processor %u, overwritten by write %lu of processor %u", reg->name,
               this_cpu()->index, n, who, done[i], i);
  }
}

// ---- one register, one byte each

static volatile u64 owned_steps;

static void own_byte(u32 cpu, u32 *count) {
  u8 value = ++*count;
  write8(window + 8 + cpu, value);
  u8 byte = read8(window + 8 + cpu);
  u8 of_dword = read32(window + 8) >> (cpu * 8);
  if (byte != value || of_dword != value)
    complain("byte %u of the PCI window offset is %x and %x, not %x", cpu, byte, of_dword, value);
  __atomic_add_fetch(&owned_steps, 1, __ATOMIC_RELAXED);
}

// ---- under a lock

static volatile u64 divisor_steps, interrupt_line_steps, destination_steps;

static void count_in_divisor_high(void) {
  spin_lock(&serial_lock);
  u8 value = in8(0x3f9);
  if (value != (u8)divisor_steps) complain("serial divisor high is %x after %lu steps", value, divisor_steps);
  divisor_steps++;
  out8(0x3f9, divisor_steps);
  spin_unlock(&serial_lock);
}

static void count_in_interrupt_line(void) {
  spin_lock(&cf8_lock);
  out32(0xcf8, 0x80000000 | function << 8 | PCI_INTERRUPT_LINE);
  u8 value = in8(0xcfc);
  if (value != (u8)interrupt_line_steps)
    complain("PCI interrupt line is %x after %lu steps", value, interrupt_line_steps);
  interrupt_line_steps++;
  out8(0xcfc, interrupt_line_steps);
  spin_unlock(&cf8_lock);
}

static void select_ioapic(u32 index) { write32(0xfec00000, index); }
static u32 ioapic_data(void) { return read32(0xfec00010); }
static void set_ioapic_data(u32 value) { write32(0xfec00010, value); }

static void count_in_destination(void) {
  spin_lock(&ioapic_lock);
  select_ioapic(0x11 + 15 * 2);
  u32 value = ioapic_data();
  if (value >> 24 != (u8)destination_steps)
    complain("IOAPIC destination is %x after %lu steps", value >> 24, destination_steps);
  destination_steps++;
  set_ioapic_data((u32)destination_steps << 24);
  spin_unlock(&ioapic_lock);
}

// Two pins a processor, masked and unmasked in turn; nothing is wired to them.
static void own_pins(u32 cpu, u32 count) {
  u32 pin = 16 + cpu * 2 + (count & 1);
  u32 low = (count & 2 ? 0x10000 : 0) | (0x30 + cpu);
  u32 high = (count & 0xff) << 24;
  spin_lock(&ioapic_lock);
  select_ioapic(0x11 + pin * 2);
  set_ioapic_data(high);
  select_ioapic(0x10 + pin * 2);
  set_ioapic_data(low);
  spin_unlock(&ioapic_lock);
  spin_lock(&ioapic_lock);
  select_ioapic(0x10 + pin * 2);
  u32 low_now = ioapic_data();
  select_ioapic(0x11 + pin * 2);
  u32 high_now = ioapic_data();
  spin_unlock(&ioapic_lock);
  if (low_now != low || high_now != high)
    complain("IOAPIC pin %u is %x:%x, not %x:%x", pin, high_now, low_now, high, low);
}

static void hammer(void *unused) {
  (void)unused;
  u32 cpu = this_cpu()->index, byte_count = 0, pin_count = 0;
  u64 random = 0x9e3779b97f4a7c15 * (cpu + 1);
  while (now_ns() < deadline_ns) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    u32 pick = random >> 32 & 15;
    struct shared_register *reg = &shared[random % shared_count];
    if (pick < 5) {
      write_shared(reg, cpu);
    } else if (pick < 10) {
      read_shared(reg);
      __atomic_add_fetch(&reg->reads, 1, __ATOMIC_RELAXED);
    } else if (pick < 11) {
      own_byte(cpu, &byte_count);
    } else if (pick < 12) {
      count_in_divisor_high();
    } else if (pick < 13) {
      count_in_interrupt_line();
    } else if (pick < 14) {
      count_in_destination();
    } else {
      own_pins(cpu, pin_count++);
    }
  }
}

// Index and data without a lock: writes land anywhere, but each register still holds only what was written somewhere.
static void race(void *unused) {
  (void)unused;
  u64 random = 0xbf58476d1ce4e5b9 * (this_cpu()->index + 1);
  while (now_ns() < deadline_ns) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    u32 vector = 0x30 + (random & 15);
    select_ioapic(0x10 + random % 24);
    set_ioapic_data(~vector << 24 | 0x10000 | vector);
  }
}

static void check_race(void) {
  for (u32 index = 0x10; index < 0x28; index++) {
    select_ioapic(index);
    u32 value = ioapic_data();
    // Reserved bits may be kept or read as zero.
    u32 vector = index & 1 ? ~value >> 24 : value & 0xff;
    u32 written = ~vector << 24 | 0x10000 | vector;
    u32 kept = index & 1 ? 0xff000000 : 0x000100ff;
    expect(vector >= 0x30 && vector < 0x40 && (value == written || value == (written & kept)),
           "IOAPIC register %x is %x", index, value);
  }
}

void payload(void) {
  u64 seconds = param_number("seconds", 10);
  u32 saved_bars[2], saved_lines[2];
  processors = start_processors(param_number("cpus", 4));
  if (processors > WRITERS) fail("at most %u processors", WRITERS);
  print("%u processors\n", processors);
  // Any virtio function: it has the configuration access window, four plain dwords of register.
  for (function = 0; function < 256; function += 8)
    if ((pci_read32(function, PCI_ID) & 0xffff) == 0x1af4) break;
  if (function >= 256) fail("no virtio function");
  ecam = pci_ecam(function);
  if (!ecam) fail("no ECAM");
  for (u32 at = 0; (at = pci_capability(function, PCI_CAPABILITY_VENDOR, at)) != 0;)
    if (pci_read8(function, at + 3) == 5) window = ecam + at;
  if (!window) fail("no configuration access capability");
  bool bar_is_ours = pci_bar(function, 0).size == 0x80000;
  for (u32 i = 0; i < 2; i++) saved_bars[i] = pci_read32(function, PCI_BAR0 + i * 4);
  saved_lines[0] = pci_read32(function, PCI_CACHE_LINE);
  saved_lines[1] = pci_read32(function, PCI_INTERRUPT_LINE);
  pci_write16(function, PCI_COMMAND, 0);

  out8(0x3fb, 0x83);  // DLAB: offsets 0 and 1 are the divisor
  out8(0x3f9, 0);
  pci_write8(function, PCI_INTERRUPT_LINE, 0);
  ioapic_write(0x10 + 15 * 2, 0x10000);
  ioapic_write(0x11 + 15 * 2, 0);
  for (u32 i = 0; i < 4; i++) write8(window + 8 + i, 0);
  if (!bar_is_ours) shared_count--;
  for (u32 i = 0; i < shared_count; i++) shared[i].write(0);

  deadline_ns = now_ns() + seconds * 1000000000;
  run_on_all(processors, hammer, NULL);
  deadline_ns = now_ns() + 1000000000;
  run_on_all(processors, race, NULL);

  out8(0x3fb, 0x03);
  check_race();
  for (u32 pin = 0; pin < 24; pin++) ioapic_write(0x10 + pin * 2, 0x10000);
  pci_write32(function, PCI_CACHE_LINE, saved_lines[0]);
  pci_write32(function, PCI_INTERRUPT_LINE, saved_lines[1]);
  for (u32 i = 0; i < 2; i++) pci_write32(function, PCI_BAR0 + i * 4, saved_bars[i]);
  pci_write16(function, PCI_COMMAND, PCI_COMMAND_MEMORY);

  for (u32 i = 0; i < complaint_count && i < 8; i++) report_failure("%s", complaints[i]);
  expect(complaint_count == 0, "%u complaints in all", complaint_count);
  for (u32 i = 0; i < shared_count; i++) {
    u64 writes = 0;
    for (u32 w = 0; w < WRITERS; w++) writes += shared[i].writers[w].done;
    print("%s: %lu writes, %lu reads\n", shared[i].name, writes, shared[i].reads);
    expect(writes > 0 && shared[i].reads > 0, "%s was not hammered", shared[i].name);
  }
  print("RESULT cpus=%u operations=%lu owned=%lu divisor=%lu interrupt_line=%lu destination=%lu\n", processors, clock,
        owned_steps, divisor_steps, interrupt_line_steps, destination_steps);
}
