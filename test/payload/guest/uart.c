// The 16550 at 3f8 register by register, and its interrupt through IOAPIC pin 4, with the loopback as the other end.
#include "runtime/runtime.h"

#define BASE 0x3f8
#define VECTOR 0x30
#define PATIENCE_NS 2000000000
#define SILENCE_NS 20000000

enum { DATA = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { LOOPBACK = 0x10 };

static u8 get(u32 at) { return in8(BASE + at); }
static void put(u32 at, u8 value) { out8(BASE + at, value); }

static void is(u32 at, u8 wanted, const char *when) {
  u8 value = get(at);
  expect(value == wanted, "register %u reads %x, not %x, %s", at, value, wanted, when);
}

static void expect_interrupts(u64 seen, u64 wanted, const char *what) {
  if (wanted == 0) spin_ns(SILENCE_NS);
  u64 deadline = now_ns() + PATIENCE_NS;
  while (interrupt_count(VECTOR) - seen < wanted && now_ns() < deadline) cpu_relax();
  u64 got = interrupt_count(VECTOR) - seen;
  expect(got == wanted, "%s: %lu interrupts, not %lu", what, got, wanted);
}

static void power_on_values(void) {
  // Before the first line of output: nothing has been written yet.
  is(IER, 0, "at power-on");
  is(IIR, 0xc1, "at power-on");
  is(LCR, 3, "at power-on");
  is(MCR, 8, "at power-on");
  is(LSR, 0x60, "at power-on");
  is(MSR, 0xb0, "at power-on");
  is(SCR, 0, "at power-on");
  put(LCR, 0x83);
  is(DATA, 12, "as divisor at power-on");
  is(IER, 0, "as divisor at power-on");
  put(LCR, 3);
}

static void storage(void) {
  static const u8 values[] = {0, 0xff, 0xaa, 0x55};
  for (u32 i = 0; i < sizeof values; i++) {
    put(SCR, values[i]);
    is(SCR, values[i], "as written");
    put(LCR, values[i] & 0x7f);
    is(LCR, values[i] & 0x7f, "as written");
    put(IER, values[i] & 0xf1);
    is(IER, values[i] & 0x01, "as written, low four bits");
    put(LSR, values[i]);
    is(LSR, 0x60, "whatever is written");
    put(MSR, values[i]);
    is(MSR, 0xb0, "whatever is written");
    put(LCR, 0x80);
    put(DATA, values[i]);
    put(IER, ~values[i]);
    is(DATA, values[i], "as divisor");
    is(IER, (u8)~values[i], "as divisor");
    put(LCR, 3);
  }
  put(IER, 0);
  put(LCR, 0x83);
  put(DATA, 12);
  put(IER, 0);
  put(LCR, 3);
}

static void loopback(void) {
  put(MCR, LOOPBACK | 8);
  for (u32 i = 0; i < 20; i++) put(DATA, i * 7);
  is(LSR, 0x61, "with input");
  for (u32 i = 0; i < 20; i++) {
    expect(get(LSR) & 1, "no byte %u of 20 in the loopback", i);
    u8 byte = get(DATA);
    expect(byte == (u8)(i * 7), "byte %u came back as %x", i, byte);
  }
  is(LSR, 0x60, "when all input is read");
  is(DATA, 0, "without input");
  // Far more than the queue holds: the rest is lost, nothing else happens.
  for (u32 i = 0; i < 300; i++) put(DATA, 0x41);
  u32 held = 0;
  while (get(LSR) & 1 && held < 400) held++, (void)get(DATA);
  expect(held == 64, "the receive queue held %u bytes, not 64", held);
  put(MCR, 8);
}

static void interrupts(void) {
  ioapic_route(4, VECTOR);
  put(MCR, LOOPBACK | 8);
  u64 seen = interrupt_count(VECTOR);
  put(DATA, 'x');
  expect_interrupts(seen, 0, "a byte with IER 0");
  (void)get(DATA);

  put(IER, 1);
  seen = interrupt_count(VECTOR);
  put(DATA, 'y');
  expect_interrupts(seen, 1, "input with IER 1");
  is(IIR, 0xc4, "with input");
  expect(get(DATA) == 'y', "the byte is another");
  is(IIR, 0xc1, "after the input was read");

  put(IER, 2);
  seen = interrupt_count(VECTOR);
  expect_interrupts(seen, 0, "IER 2 alone");
  put(MCR, 8);
  put(DATA, '\n');
  expect_interrupts(seen, 1, "output with IER 2");
  is(IIR, 0xc2, "after output");
  is(IIR, 0xc1, "when read again");

  // While the pin is masked nothing arrives.
  ioapic_write(0x10 + 4 * 2, 0x10000 | VECTOR);
  seen = interrupt_count(VECTOR);
  put(DATA, '\n');
  expect_interrupts(seen, 0, "a masked pin");
  put(IER, 0);
  (void)get(IIR);
}

static void widths(void) {
  put(SCR, 0x77);
  out16(BASE + SCR, 0x1234);
  out32(BASE + SCR, 0x12345678);
  is(SCR, 0x77, "after writes of two and four bytes");
  (void)in16(BASE + SCR);
  (void)in32(BASE);
}

void payload(void) {
  lapic_enable();
  power_on_values();
  storage();
  loopback();
  widths();
  interrupts();
  print("RESULT interrupts=%lu\n", interrupt_count(VECTOR));
}
