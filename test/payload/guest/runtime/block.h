// virtio-blk requests (VIRTIO 1.2: 5.2.6).
#pragma once
#include "virtio.h"

enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8, BLK_DISCARD = 11, BLK_WRITE_ZEROES = 13 };
enum { BLK_OK = 0, BLK_IOERR = 1, BLK_UNSUPP = 2, BLK_NO_ANSWER = 0xff };
#define BLK_F_RO (1ull << 5)
#define BLK_F_BLK_SIZE (1ull << 6)
#define BLK_F_FLUSH (1ull << 9)
#define BLK_F_CONFIG_WCE (1ull << 11)
#define BLK_F_MQ (1ull << 12)
#define BLK_F_DISCARD (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

struct blk_header {
  u32 type, reserved;
  u64 sector;
};

struct blk {
  struct virtio_device device;
  struct virtqueue queue;
  u64 sectors;
};

// Opens the nth block device, negotiates the wanted features, sets up queue 0 and goes to DRIVER_OK.
void blk_open(struct blk *blk, u32 nth, u64 features);
// Reset and the same again on the same rings.
void blk_reopen(struct blk *blk, u64 features);

// One request, waited for: the status byte (BLK_NO_ANSWER when the device left it alone, as after a malformed chain),
// and the used length. Fails when nothing comes back within 10 s.
u8 blk_request(struct blk *blk, u32 type, u64 sector, const struct buffer *data, u32 count, u32 *used_length);
u8 blk_read(struct blk *blk, u64 sector, void *to, u32 length);
u8 blk_write(struct blk *blk, u64 sector, const void *from, u32 length);
