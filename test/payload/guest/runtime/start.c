// Descriptor tables, level-3 entry, exceptions and the way out.
#include "runtime.h"
#include "internal.h"

struct gate {
  u16 offset_low, selector, attributes, offset_mid;
  u32 offset_high, reserved;
};

// 64-bit TSS with an all-permitting I/O bitmap: level-3 port I/O works even where IOPL does not survive.
struct __attribute__((packed)) tss {
  u32 reserved0;
  u64 rsp0, rsp1, rsp2, reserved1, ist[7], reserved2;
  u16 reserved3, io_bitmap_offset;
  u8 io_bitmap[8192], terminator;
};

struct interrupt_frame {
  u64 r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
  u64 vector, error_code;
  u64 rip, cs, rflags, rsp, ss;
};

extern u64 gdt[];
extern u8 gdt_pointer[];
extern const u64 interrupt_stubs[];
extern u8 cpu_blocks[];
extern u8 image_end[];
extern u64 start_info_address;
extern u64 pml4[], low_pdpt[];
void enter_user(void (*function)(void), void *stack_top) __attribute__((noreturn));

static struct gate idt[VECTORS] __attribute__((aligned(16)));
static struct tss tss[MAX_CPUS] __attribute__((aligned(16)));
static void (*handlers[VECTORS])(void *);
static void *handler_arguments[VECTORS];
static volatile u64 counts[VECTORS];

u64 rdmsr(u32 msr) {
  u32 low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (u64)high << 32 | low;
}

void wrmsr(u32 msr, u64 value) {
  __asm__ volatile("wrmsr" ::"a"((u32)value), "d"((u32)(value >> 32)), "c"(msr) : "memory");
}

struct cpu *this_cpu(void) {
  u64 stack;
  __asm__ volatile("mov %%rsp, %0" : "=r"(stack));
  return (struct cpu *)(stack & ~(u64)(CPU_BLOCK_SIZE - 1));
}

struct cpu *cpu_at(u32 index) { return (struct cpu *)(cpu_blocks + (u64)index * CPU_BLOCK_SIZE); }

const struct start_info *start_info(void) { return (const struct start_info *)start_info_address; }

static void load_tables(u32 index) {
  struct __attribute__((packed)) {
    u16 limit;
    u64 base;
  } idt_pointer = {sizeof idt - 1, (u64)idt};
  struct tss *own = &tss[index];
  u64 base = (u64)own;
  u64 limit = sizeof *own - 1;
  own->rsp0 = (u64)cpu_at(index) + KERNEL_STACK_TOP;
  own->io_bitmap_offset = offsetof(struct tss, io_bitmap);
  own->terminator = 0xff;
  u64 *descriptor = &gdt[FIRST_TSS / 8 + index * 2];
  descriptor[0] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
  descriptor[1] = base >> 32;
  __asm__ volatile("ltr %0" ::"r"((u16)(FIRST_TSS + index * 16)));
  __asm__ volatile("lidt %0" ::"m"(idt_pointer));
}

static void user_start(void) {
  print_init();
  time_init();
  payload();
  if (failures() == 0) print("PASS\n");
  power_off();
}

// Level 0, first C code of every processor: as little as possible, since it may be interpreted.
__attribute__((noreturn)) void kernel_start(void) {
  struct cpu *cpu = this_cpu();
  bool boot = (u8 *)cpu == cpu_blocks;
  if (boot) {
    // A firmware that ran before may have left the interrupt controllers of the PC open.
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    for (u32 vector = 0; vector < VECTORS; vector++) {
      u64 stub = interrupt_stubs[vector];
      idt[vector].offset_low = stub;
      idt[vector].selector = KERNEL_CS;
      idt[vector].attributes = 0x8e00;
      idt[vector].offset_mid = stub >> 16;
    }
  }
  load_tables(cpu->index);
  enter_user(boot ? user_start : ap_start, (u8 *)cpu + USER_STACK_TOP - 8);
}

// The way from level 3 to level 0 is an invalid opcode: an exception is the one gate that also works where level 0 is
// interpreted (INT and SYSCALL are not delivered there).
#define KERNEL_CALL 0x6c6c616364757632

void interrupt_dispatch(struct interrupt_frame *frame) {
  u8 vector = frame->vector;
  if (vector == 6 && frame->cs == USER_CS && frame->rax == KERNEL_CALL) {
    frame->rip += 2;
    frame->rax = ((long (*)(long))frame->rdi)(frame->rsi);
    return;
  }
  if (vector < 32) {
    u64 cr2;
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    fail("exception %u error=%lx rip=%lx cs=%lx rflags=%lx rsp=%lx cr2=%lx", vector, frame->error_code, frame->rip,
         frame->cs, frame->rflags, frame->rsp, cr2);
  }
  __atomic_fetch_add(&counts[vector], 1, __ATOMIC_SEQ_CST);
  if (handlers[vector]) handlers[vector](handler_arguments[vector]);
  lapic_eoi();
}

void set_interrupt_handler(u8 vector, void (*handler)(void *), void *argument) {
  handler_arguments[vector] = argument;
  handlers[vector] = handler;
}

u64 interrupt_count(u8 vector) { return counts[vector]; }

static bool at_level_0(void) {
  u16 selector;
  __asm__ volatile("mov %%cs, %0" : "=r"(selector));
  return (selector & 3) == 0;
}

long kernel_call(long (*function)(long), long argument) {
  if (at_level_0()) return function(argument);
  long result;
  __asm__ volatile("ud2" : "=a"(result) : "a"(KERNEL_CALL), "D"(function), "S"(argument) : "memory");
  return result;
}

static long cpuid_call(long argument) {
  struct cpuid *registers = (struct cpuid *)argument;
  __asm__ volatile("cpuid"
                   : "+a"(registers->eax), "=b"(registers->ebx), "+c"(registers->ecx), "=d"(registers->edx));
  return 0;
}

// At level 0, because at level 3 the instruction may show the host's values.
struct cpuid cpuid(u32 leaf, u32 subleaf) {
  struct cpuid registers = {leaf, 0, subleaf, 0};
  kernel_call(cpuid_call, (long)&registers);
  return registers;
}

// ---- memory

void *memset(void *to, int byte, size_t length) {
  void *start = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(byte) : "memory");
  return start;
}

void *memcpy(void *to, const void *from, size_t length) {
  void *start = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length)::"memory");
  return start;
}

int memcmp(const void *a, const void *b, size_t length) {
  const u8 *x = a, *y = b;
  for (size_t i = 0; i < length; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length]) length++;
  return length;
}

bool streq(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

const struct memory_range *memory_map(u32 *entries) {
  *entries = start_info()->version >= 1 ? start_info()->memmap_entries : 0;
  return (const struct memory_range *)start_info()->memmap_paddr;
}

u64 ram_top_below_4g(void) {
  u32 entries;
  const struct memory_range *map = memory_map(&entries);
  u64 top = 0;
  for (u32 i = 0; i < entries; i++) {
    u64 end = map[i].address + map[i].size;
    if (map[i].type == 1 && map[i].address <= (u64)image_end && end > top && end <= 0x100000000) top = end;
  }
  return top;
}

void *allocate(size_t size, size_t alignment) {
  static u64 next;
  static spinlock lock;
  spin_lock(&lock);
  if (next == 0) next = (u64)image_end;
  u64 address = (next + alignment - 1) & ~(u64)(alignment - 1);
  if (size > ram_top_below_4g() || address > ram_top_below_4g() - size) fail("out of memory: %lu bytes", size);
  next = address + size;
  spin_unlock(&lock);
  // RAM is zero at boot and never handed out twice.
  return (void *)address;
}

void map_range(u64 address, u64 size) {
  static u64 tables[32][512] __attribute__((aligned(4096)));
  static u32 used;
  static spinlock lock;
  if (address + size <= 0x100000000) return;
  spin_lock(&lock);
  for (u64 page = address & ~0x1fffffull; page < address + size; page += 0x200000) {
    u64 *level4 = &pml4[page >> 39 & 511];
    if (used + 2 > 32) fail("no page table left to map %lx", page);
    if (!(*level4 & 1)) *level4 = (u64)tables[used++] | 7;
    u64 *level3 = (u64 *)(*level4 & 0xffffffffff000) + (page >> 30 & 511);
    if (!(*level3 & 1)) *level3 = (u64)tables[used++] | 7;
    u64 *level2 = (u64 *)(*level3 & 0xffffffffff000) + (page >> 21 & 511);
    if (!(*level2 & 1)) *level2 = page | 0x87;
  }
  spin_unlock(&lock);
}

// ---- end

long triple_fault(long unused) {
  struct __attribute__((packed)) {
    u16 limit;
    u64 base;
  } none = {0, 0};
  (void)unused;
  __asm__ volatile("lidt %0; ud2" ::"m"(none));
  return 0;
}

void power_off(void) {
  const char *how = param("exit", "acpi");
  if (streq(how, "qemu")) out8(0xf4, failures() == 0 ? 0x10 : 0x11);  // isa-debug-exit: status (value << 1) | 1
  out8(0x600, 0x34);                                                  // SLP_TYP 5, SLP_EN
  // A machine that knows neither way at least ends (or restarts) on a triple fault.
  spin_ns(2000000000);
  kernel_call(triple_fault, 0);
  for (;;) cpu_relax();
}
