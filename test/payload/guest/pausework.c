// Works until the host writes to sector 0: each round writes a pattern of its own to the disk, reads it back, compares, and
// says its number on the serial port. Whoever reads the lines sees that none is lost, twice there or damaged.
#include "runtime/block.h"

#define BYTES 16384
#define FIRST 64
#define PLACES 100

void payload(void) {
  struct blk blk;
  u8 *out = allocate(BYTES, 4096), *in = allocate(BYTES, 4096), *stop = allocate(4096, 4096);
  blk_open(&blk, 0, FEATURE_EVENT_IDX);
  for (u64 round = 0;; round++) {
    u64 sector = FIRST + round % PLACES * (BYTES / 512);
    for (u32 i = 0; i < BYTES; i++) out[i] = round * 31 + i + (i >> 8);
    memset(in, 0, BYTES);
    if (blk_write(&blk, sector, out, BYTES) != BLK_OK) fail("write %lu failed", round);
    if (blk_read(&blk, sector, in, BYTES) != BLK_OK) fail("read %lu failed", round);
    if (memcmp(out, in, BYTES) != 0) fail("round %lu read something else", round);
    print("ROUND %lu\n", round);
    if (blk_read(&blk, 0, stop, 512) != BLK_OK) fail("read of sector 0 failed");
    if (stop[0] != 0) break;
  }
  virtio_reset(&blk.device);
}
