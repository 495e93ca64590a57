// A guest whose memory and registers are known: it prints where its pattern and its last instruction are, puts marks into
// registers and spins. Bytes of the pattern: their number in it times 7, plus 3.
#include "runtime/runtime.h"

#define PATTERN_BYTES 200000

static u8 pattern[PATTERN_BYTES];
extern const u8 spin[];

void payload(void) {
  for (u64 i = 0; i < PATTERN_BYTES; i++) pattern[i] = (u8)(i * 7 + 3);
  print("PATTERN %lx SPIN %lx\n", (u64)pattern, (u64)spin);
  print("READY\n");
  __asm__ volatile(
      "mov $0x1122334455667788, %%r12\n"
      "mov $0x0123456789abcdef, %%rsi\n"
      ".global spin\n"
      "spin: jmp spin\n" ::
          : "r12", "rsi", "memory");
}
