// virtio-rng: buffers of several sizes are filled with what looks like noise.
#include "runtime/virtio.h"

#define BYTES 65536

static struct virtio_device device;
static struct virtqueue queue;

static u32 request(u8 *to, u32 length) {
  struct buffer buffer = {to, length};
  if (virtq_add(&queue, &buffer, 0, 1) < 0) fail("no free descriptor");
  virtq_kick(&queue);
  u32 used = 0;
  if (virtq_wait(&queue, &used, 10000000000) < 0) fail("a request for %u bytes was not answered", length);
  expect(used > 0 && used <= length, "a request for %u bytes was answered with %u", length, used);
  return used;
}

void payload(void) {
  static const u32 lengths[] = {1, 7, 64, 4096, BYTES};
  if (!virtio_open(&device, VIRTIO_RNG, 0)) fail("no rng device");
  virtio_negotiate(&device, FEATURE_EVENT_IDX | FEATURE_INDIRECT_DESC);
  virtio_queue_init(&queue, &device, 0, 0);
  virtio_driver_ok(&device);
  u8 *bytes = allocate(BYTES + 8, 4096), *again = allocate(BYTES, 4096);
  for (u32 i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    memset(bytes, 0xa5, BYTES + 8);
    u32 used = request(bytes, lengths[i]);
    for (u32 j = used; j < lengths[i] + 8; j++) expect(bytes[j] == 0xa5, "byte %u after a fill of %u was written", j, used);
  }
  u32 filled = 0;
  while (filled < BYTES) filled += request(bytes + filled, BYTES - filled);
  u32 histogram[256] = {0}, least = BYTES, most = 0;
  for (u32 i = 0; i < BYTES; i++) histogram[bytes[i]]++;
  for (u32 i = 0; i < 256; i++) {
    if (histogram[i] < least) least = histogram[i];
    if (histogram[i] > most) most = histogram[i];
  }
  // 256 expected with a standard deviation of 16: eight of them away happens to nobody.
  expect(least > 128 && most < 384, "byte values occur %u to %u times", least, most);
  request(bytes, 64);
  request(again, 64);
  expect(memcmp(bytes, again, 64) != 0, "two requests gave the same bytes");
  print("RESULT least=%u most=%u\n", least, most);
}
