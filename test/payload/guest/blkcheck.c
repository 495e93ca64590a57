// virtio-blk, request by request: data, errors, ring wrap, each with and without indirect descriptors and event index.
// Parameters: dev (writable disk of at least 16 MiB), ro (index of a read-only disk), id (expected GET_ID text), wrap
// (requests for the index wrap), strict=1 (refusals that VIRTIO leaves open but Cloud Hypervisor defines).
// Leaves sectors 2048 to 2175 filled with byte(sector, i), for the host to compare.
#include "runtime/block.h"

#define BASE 2048
#define BYTES (1 << 20)

static struct blk blk;
static u8 *out, *in;
static bool strict;

static u8 pattern(u64 sector, u32 i) { return sector * 7 + i + (i >> 8); }

static void fill(u8 *to, u64 sector, u32 length) {
  for (u32 i = 0; i < length; i++) to[i] = pattern(sector + i / 512, i % 512);
}

static void expect_status(u8 status, u8 wanted, const char *what) {
  expect(status == wanted, "%s: status %u, not %u (features %lx)", what, status, wanted, blk.device.features);
}

static void expect_bytes(const u8 *got, const u8 *wanted, u32 length, const char *what) {
  for (u32 i = 0; i < length; i++)
    if (got[i] != wanted[i]) {
      report_failure("%s: byte %u is %x, not %x (features %lx)", what, i, got[i], wanted[i], blk.device.features);
      return;
    }
}

static void expect_zero(const u8 *got, u32 length, const char *what) {
  for (u32 i = 0; i < length; i++)
    if (got[i] != 0) {
      report_failure("%s: byte %u is %x, not 0", what, i, got[i]);
      return;
    }
}

static void write_and_read(u32 length, const char *what) {
  u32 used = 0;
  struct buffer data = {out, length};
  fill(out, BASE + length / 512, length);
  expect_status(blk_request(&blk, BLK_OUT, BASE, &data, 1, &used), BLK_OK, what);
  expect(used == 1, "%s: a write of %u used %u bytes", what, length, used);
  memset(in, 0xa5, length);
  data.address = in;
  expect_status(blk_request(&blk, BLK_IN, BASE, &data, 1, &used), BLK_OK, what);
  expect(used == length + 1, "%s: a read of %u used %u bytes", what, length, used);
  expect_bytes(in, out, length, what);
}

// Buffers that start anywhere and whose lengths are no multiple of a sector; only the sum is.
static void scattered(void) {
  static const u32 lengths[] = {1, 511, 513, 4096, 1023, 3, 5000, 709, 96, 4, 332};
  u32 count = sizeof lengths / sizeof lengths[0], total = 0;
  if (blk.queue.size < 16 && !(blk.device.features & FEATURE_INDIRECT_DESC)) return;
  struct buffer data[16];
  for (u32 pass = 0; pass < 2; pass++) {
    u8 *at = (pass ? in : out) + 4093;
    total = 0;
    for (u32 i = 0; i < count; i++) {
      data[i] = (struct buffer){at, lengths[i]};
      at += lengths[i] + 37;
      total += lengths[i];
    }
    if (pass == 0) {
      u32 n = 0;
      for (u32 i = 0; i < count; i++)
        for (u32 j = 0; j < lengths[i]; j++, n++) ((u8 *)data[i].address)[j] = pattern(n / 512, n % 512);
      expect_status(blk_request(&blk, BLK_OUT, BASE + 64, data, count, NULL), BLK_OK, "scattered write");
    } else {
      memset(in, 0xa5, 65536);
      expect_status(blk_request(&blk, BLK_IN, BASE + 64, data, count, NULL), BLK_OK, "scattered read");
      u32 n = 0;
      for (u32 i = 0; i < count; i++) {
        for (u32 j = 0; j < lengths[i]; j++, n++)
          if (((u8 *)data[i].address)[j] != pattern(n / 512, n % 512)) {
            report_failure("scattered read: byte %u differs", n);
            return;
          }
        expect(((u8 *)data[i].address)[lengths[i]] == 0xa5, "a read wrote past buffer %u", i);
      }
    }
  }
  expect(total % 512 == 0, "the lengths of the scattered test sum to %u", total);
  expect_status(blk_read(&blk, BASE + 64, in, total), BLK_OK, "read of the scattered write");
  fill(out, 0, total);
  expect_bytes(in, out, total, "read of the scattered write");
}

static void range_errors(void) {
  u64 end = blk.sectors;
  expect_status(blk_read(&blk, end - 1, in, 512), BLK_OK, "read of the last sector");
  expect_status(blk_read(&blk, end, in, 512), BLK_IOERR, "read past the end");
  expect_status(blk_read(&blk, end - 1, in, 1024), BLK_IOERR, "read across the end");
  expect_status(blk_write(&blk, end, out, 512), BLK_IOERR, "write past the end");
  expect_status(blk_write(&blk, end - 1, out, 1024), BLK_IOERR, "write across the end");
  expect_status(blk_read(&blk, ~0ull, in, 512), BLK_IOERR, "read of sector 2^64 - 1");
  expect_status(blk_read(&blk, 1ull << 55, in, 512), BLK_IOERR, "read of sector 2^55");
  expect_status(blk_write(&blk, (1ull << 55) - 1, out, 1024), BLK_IOERR, "write across 2^64 bytes");
  expect_status(blk_read(&blk, BASE, in, 100), BLK_IOERR, "read of 100 bytes");
  expect_status(blk_write(&blk, BASE, out, 700), BLK_IOERR, "write of 700 bytes");
  struct buffer data = {out, 512};
  expect_status(blk_request(&blk, 99, BASE, &data, 1, NULL), BLK_UNSUPP, "unknown request type");
}

struct segment {
  u64 sector;
  u32 sectors, flags;
};

static u8 segment_request(u32 type, u64 sector, u32 sectors, u32 flags) {
  static struct segment segment;
  segment = (struct segment){sector, sectors, flags};
  struct buffer data = {&segment, sizeof segment};
  return blk_request(&blk, type, 0, &data, 1, NULL);
}

static void discard_and_zero(void) {
  u64 features = blk.device.features;
  fill(out, BASE, 65536);
  if (features & BLK_F_WRITE_ZEROES) {
    for (u32 unmap = 0; unmap < 2; unmap++) {
      expect_status(blk_write(&blk, BASE, out, 65536), BLK_OK, "write before write-zeroes");
      expect_status(segment_request(BLK_WRITE_ZEROES, BASE + 3, 50, unmap), BLK_OK, "write-zeroes");
      expect_status(blk_read(&blk, BASE, in, 65536), BLK_OK, "read after write-zeroes");
      expect_bytes(in, out, 3 * 512, "before the zeroed range");
      expect_zero(in + 3 * 512, 50 * 512, "zeroed range");
      expect_bytes(in + 53 * 512, out + 53 * 512, 65536 - 53 * 512, "after the zeroed range");
    }
    expect_status(segment_request(BLK_WRITE_ZEROES, blk.sectors - 1, 2, 0), BLK_IOERR, "write-zeroes across the end");
    expect_status(segment_request(BLK_WRITE_ZEROES, ~0ull, 2, 0), BLK_IOERR, "write-zeroes at 2^64 - 1");
    expect_status(segment_request(BLK_WRITE_ZEROES, BASE, 8, 2), BLK_UNSUPP, "write-zeroes with an unknown flag");
  }
  if (features & BLK_F_DISCARD) {
    expect_status(blk_write(&blk, BASE, out, 65536), BLK_OK, "write before discard");
    expect_status(segment_request(BLK_DISCARD, BASE + 8, 64, 0), BLK_OK, "discard");
    expect_status(blk_read(&blk, BASE, in, 65536), BLK_OK, "read after discard");
    expect_bytes(in, out, 8 * 512, "before the discarded range");
    expect_bytes(in + 72 * 512, out + 72 * 512, 65536 - 72 * 512, "after the discarded range");
    if (strict) expect_zero(in + 8 * 512, 64 * 512, "discarded range");
    expect_status(segment_request(BLK_DISCARD, blk.sectors, 1, 0), BLK_IOERR, "discard past the end");
    expect_status(segment_request(BLK_DISCARD, BASE, 8, 1), BLK_UNSUPP, "discard with a flag");
  }
  if (strict && features & BLK_F_DISCARD) {
    struct segment segments[2] = {{BASE, 8, 0}, {BASE + 16, 8, 0}};
    struct buffer data = {segments, 15};
    expect_status(blk_request(&blk, BLK_DISCARD, 0, &data, 1, NULL), BLK_IOERR, "discard with 15 bytes");
    data.length = 32;
    expect_status(blk_request(&blk, BLK_DISCARD, 0, &data, 1, NULL), BLK_IOERR, "discard with two segments");
  }
}

static void identify(void) {
  u8 name[21] = {0};
  u32 used = 0;
  struct buffer data = {name, 20};
  expect_status(blk_request(&blk, BLK_GET_ID, 0, &data, 1, &used), BLK_OK, "GET_ID");
  expect(used >= 1 && used <= 21, "GET_ID used %u bytes", used);
  print("id %s\n", (const char *)name);
  const char *wanted = param("id", NULL);
  if (wanted) expect(streq((const char *)name, wanted), "GET_ID answers %s", (const char *)name);
}

// Many requests in flight, past the point where the 16-bit ring indices wrap.
static void wrap(u32 requests) {
  static struct blk_header header;
  static volatile u8 status[64];
  u32 submitted = 0, completed = 0, bad = 0;
  u32 depth = blk.queue.size / 3 < 32 ? blk.queue.size / 3 : 32;
  header = (struct blk_header){BLK_IN, 0, BASE};
  while (completed < requests) {
    while (submitted < requests && submitted - completed < depth) {
      struct buffer buffers[3] = {
          {&header, sizeof header}, {in + submitted % 64 * 512, 512}, {(void *)&status[submitted % 64], 1}};
      if (virtq_add(&blk.queue, buffers, 1, 2) < 0) break;
      submitted++;
    }
    virtq_kick(&blk.queue);
    u32 length;
    if (virtq_wait(&blk.queue, &length, 10000000000) < 0) {
      fail("request %u of %u never came back: avail %u used %u", completed, requests, blk.queue.published,
           blk.queue.used[1]);
    }
    do {
      completed++;
      if (length != 513) bad++;
    } while (virtq_poll(&blk.queue, &length) >= 0);
  }
  expect(bad == 0, "%u of %u requests had a wrong used length", bad, requests);
  for (u32 i = 0; i < 64; i++) expect(status[i] == BLK_OK, "status %u is %u", i, status[i]);
  print("wrap: %u requests, used index %u\n", requests, blk.queue.used[1]);
}

static void read_only(u32 nth) {
  struct blk other;
  blk_open(&other, nth, BLK_F_RO | BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES);
  expect(other.device.features & BLK_F_RO, "disk %u does not offer RO", nth);
  expect(blk_read(&other, 0, in, 4096) == BLK_OK, "read of the read-only disk");
  expect(blk_write(&other, 8, out, 512) == BLK_IOERR, "a write to the read-only disk is not refused");
  expect(blk_request(&other, BLK_FLUSH, 0, NULL, 0, NULL) == BLK_OK, "flush of the read-only disk");
  memset(out, 0, 4096);
  memcpy(out, in, 4096);
  expect(blk_read(&other, 0, in, 4096) == BLK_OK, "read of the read-only disk after the refusal");
  expect(memcmp(out, in, 4096) == 0, "the read-only disk changed");
  virtio_reset(&other.device);
}

void payload(void) {
  static const u64 modes[] = {0, FEATURE_INDIRECT_DESC, FEATURE_EVENT_IDX, FEATURE_INDIRECT_DESC | FEATURE_EVENT_IDX};
  const u64 base = BLK_F_FLUSH | BLK_F_CONFIG_WCE | BLK_F_DISCARD | BLK_F_WRITE_ZEROES | BLK_F_BLK_SIZE;
  strict = param_number("strict", 0);
  out = allocate(BYTES, 4096);
  in = allocate(BYTES, 4096);
  blk_open(&blk, param_number("dev", 0), base);
  if (blk.sectors < 32768) fail("the disk has only %lu sectors", blk.sectors);
  print("block device: offered %lx, %lu sectors, queue of %u\n", virtio_offered(&blk.device), blk.sectors,
        blk.queue.size);

  for (u32 mode = 0; mode < 4; mode++) {
    blk_reopen(&blk, base | modes[mode]);
    write_and_read(512, "one sector");
    write_and_read(4096, "one page");
    write_and_read(65536, "64 KiB");
    write_and_read(BYTES, "1 MiB");
    scattered();
    range_errors();
    discard_and_zero();
    expect_status(blk_request(&blk, BLK_FLUSH, 0, NULL, 0, NULL), BLK_OK, "flush");
    identify();
  }
  blk_reopen(&blk, base | FEATURE_EVENT_IDX);
  wrap(param_number("wrap", 66000));
  blk_reopen(&blk, base);
  wrap(1000);

  u16 full = blk.queue.size;
  blk.queue.size = 4;
  blk_reopen(&blk, base);
  write_and_read(4096, "queue of 4");
  wrap(100);
  blk.queue.size = full;

  u32 ro = param_number("ro", 99);
  if (ro != 99) read_only(ro);

  blk_reopen(&blk, base);
  fill(out, BASE, 65536);
  expect_status(blk_write(&blk, BASE, out, 65536), BLK_OK, "last write");
  expect_status(blk_request(&blk, BLK_FLUSH, 0, NULL, 0, NULL), BLK_OK, "last flush");
  virtio_reset(&blk.device);
  print("RESULT sectors=%lu features=%lx\n", blk.sectors, virtio_offered(&blk.device));
}
