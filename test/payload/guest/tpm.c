// TPM by command response buffer: registers, commands, and what is no command. Parameter mode: `works` (with a swtpm that
// does), `cancel` (a command that ends only when it is cancelled), `fails` (swtpm is lost at the first command), `gone`
// (swtpm goes away between READY and a byte on the serial port), `moved` (a command is
// under way at READY).
#include "runtime/runtime.h"

#define BASE 0xfed40000ull
#define BUFFER (BASE + 0x80)
#define BUFFER_BYTES 0xf80
enum { LOC_STATE = 0x00, LOC_CTRL = 0x08, LOC_STS = 0x0c, INTF_ID = 0x30, CTRL_REQ = 0x40, CTRL_STS = 0x44, CANCEL = 0x48, START = 0x4c };
enum { STS_ERROR = 1, STS_IDLE = 2 };
enum { GET_RANDOM = 0x17b, SELF_TEST = 0x143 };
enum { RC_FAILURE = 0x101, RC_COMMAND_SIZE = 0x142, RC_COMMAND_CODE = 0x143, RC_CANCELED = 0x909 };

static u64 seed = 0x9e3779b97f4a7c15;

static u64 next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static u32 reg(u32 offset) { return read32(BASE + offset); }
static void set(u32 offset, u32 value) { write32(BASE + offset, value); }
static u32 big(u32 value) { return __builtin_bswap32(value); }

// Writes a head, and behind it a 16-bit argument that is there when the size says so.
static void put_command(u32 size, u32 code, u16 argument) {
  write16(BUFFER, 0x0180);
  write32(BUFFER + 2, big(size));
  write32(BUFFER + 6, big(code));
  write16(BUFFER + 10, argument << 8 | argument >> 8);
}

static void wait_done(void) {
  u64 deadline = now_ns() + 30000000000;
  while (reg(START) != 0)
    if (now_ns() > deadline) fail("a command is not done after 30 s");
}

static u32 response_code(void) { return big(read32(BUFFER + 6)); }

static u32 run(u32 size, u32 code, u16 argument) {
  put_command(size, code, argument);
  set(START, 1);
  wait_done();
  return response_code();
}

static void get_random(u8 *to) {
  u32 code = run(12, GET_RANDOM, 16);
  if (code != 0) fail("TPM2_GetRandom ends with %x, status %x", code, reg(CTRL_STS));
  expect(read16(BUFFER) == 0x0180 && big(read32(BUFFER + 2)) == 28, "a response of %u bytes", big(read32(BUFFER + 2)));
  for (u32 i = 0; i < 16; i++) to[i] = read8(BUFFER + 12 + i);
}

static void registers(void) {
  expect(reg(LOC_STATE) == 0x81, "LOC_STATE is %x", reg(LOC_STATE));
  expect(reg(INTF_ID) == 0x25811 + 0, "INTF_ID is %x", reg(INTF_ID));
  expect(read64(BASE + INTF_ID) >> 32 == 0x1014, "the vendor is %lx", read64(BASE + INTF_ID) >> 32);
  expect(reg(CTRL_STS) == STS_IDLE, "CTRL_STS is %x", reg(CTRL_STS));
  put_command(12, GET_RANDOM, 16);
  set(START, 1);
  expect(reg(START) == 0, "a command starts without the locality");
  set(LOC_CTRL, 1);
  expect(reg(LOC_STATE) == 0x83 && reg(LOC_STS) == 1, "locality: %x %x", reg(LOC_STATE), reg(LOC_STS));
  set(CTRL_REQ, 1);
  expect(reg(CTRL_STS) == 0 && reg(CTRL_REQ) == 0, "not ready: %x", reg(CTRL_STS));
  static const u32 places[] = {0x58, BUFFER_BYTES, 0x5c, 0xfed40080, 0x60, 0, 0x64, BUFFER_BYTES, 0x68, 0xfed40080};
  for (u32 i = 0; i < 10; i += 2) expect(reg(places[i]) == places[i + 1], "register %x is %x", places[i], reg(places[i]));
  write64(BASE + 0x68, 0x1122334455667788);
  expect(read64(BASE + 0x68) == 0x1122334455667788, "RSP_ADDR is %lx", read64(BASE + 0x68));
  write8(BASE + 0x69, 0xaa);
  write16(BASE + 0x6a, 0xbbcc);
  expect(read64(BASE + 0x68) == 0x11223344bbccaa88, "RSP_ADDR by parts is %lx", read64(BASE + 0x68));
  write64(BASE + 0x68, 0xfed40080);
  write64(BUFFER + 0x100, 0x0123456789abcdef);
  expect(read32(BUFFER + 0x103) == 0x23456789, "the buffer reads %x", read32(BUFFER + 0x103));
  write8(BUFFER, 1);
  expect(read64(BUFFER + 0x100) == 0, "a new command leaves the last one behind it");
}

static void wrong_commands(void) {
  static const u32 sizes[] = {0, 1, 9, BUFFER_BYTES + 1, 0x7fffffff, 0xffffffff};
  for (u32 i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    u32 code = run(sizes[i], GET_RANDOM, 16);
    expect(code == RC_COMMAND_SIZE, "a command of %u bytes ends with %x", sizes[i], code);
  }
  u32 code = run(10, 0x3fff, 0);
  expect(code == RC_COMMAND_CODE, "an unknown command ends with %x", code);
  code = run(BUFFER_BYTES, GET_RANDOM, 16);
  expect(code != 0, "a command that is too long is carried out");
}

// Accesses of every width all over, most while a command is under way.
static void disturb(void) {
  for (u32 round = 0; round < 30; round++) {
    set(LOC_CTRL, 1);
    set(CTRL_REQ, 1);
    put_command(round % 3 ? 12 : next_random() % 64, round % 3 ? GET_RANDOM : next_random(), 16);
    set(START, 1);
    for (u32 i = 0; i < 50; i++) {
      u64 random = next_random(), at = BASE + (random % 2 ? random >> 8 & 0x7f : random >> 8 & 0xfff);
      switch (random >> 60 & 7) {
        case 0: write8(at, next_random()); break;
        case 1: write16(at, next_random()); break;
        case 2: write32(at, next_random()); break;
        case 3: write64(at, next_random()); break;
        case 4: (void)read8(at); break;
        case 5: (void)read16(at); break;
        case 6: (void)read32(at); break;
        case 7: (void)read64(at); break;
      }
    }
    wait_done();
  }
  set(LOC_CTRL, 1);
  set(CTRL_REQ, 1);
}

static void expect_failure(void) {
  u32 code = run(12, GET_RANDOM, 16);
  expect(code == RC_FAILURE && reg(CTRL_STS) == STS_ERROR, "with swtpm lost: %x, status %x", code, reg(CTRL_STS));
  set(CTRL_REQ, 1);
  expect(reg(CTRL_STS) == 0, "the status is %x", reg(CTRL_STS));
}

void payload(void) {
  static u8 one[16], other[16];
  registers();
  if (param_is("mode", "works") || param_is("mode", "gone")) {
    get_random(one);
    get_random(other);
    expect(memcmp(one, other, 16) != 0, "the same bytes twice");
    wrong_commands();
    disturb();
    get_random(one);
    expect(memcmp(one, other, 16) != 0, "the same bytes again");
  }
  if (param_is("mode", "gone")) {
    print("READY\n");
    serial_wait(30000000000);
  }
  if (param_is("mode", "gone") || param_is("mode", "fails"))
    for (u32 i = 0; i < 3; i++) expect_failure();
  if (param_is("mode", "cancel")) {
    put_command(12, GET_RANDOM, 16);
    set(START, 1);
    for (u32 i = 0; i < 100; i++) {
      expect(reg(START) == 1, "the command is done already");
      write8(BUFFER + 2, 0xff);
    }
    expect(big(read32(BUFFER + 2)) == 12, "a command under way was changed");
    set(CANCEL, 1);
    wait_done();
    expect(response_code() == RC_CANCELED && reg(CANCEL) == 0, "a cancelled command ends with %x", response_code());
  }
  if (param_is("mode", "moved")) {
    put_command(12, GET_RANDOM, 16);
    set(START, 1);
    print("READY\n");
    wait_done();
    expect(response_code() == 0 && big(read32(BUFFER + 2)) == 28, "a command that was moved ends with %x", response_code());
  }
  set(LOC_CTRL, 2);
  expect(reg(LOC_STS) == 0, "the locality is still there");
  print("RESULT mode=%s\n", param("mode", ""));
}
