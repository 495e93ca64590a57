// virtio-watchdog: what comes back in a buffer, what bad ones do, and that a reset of the device is no end of it.
#include "runtime/virtio.h"

static struct virtio_device device;
static struct virtqueue queue;
static u8 *buffer;

static void start(void) {
  virtio_negotiate(&device, ~0ull);
  if (queue.size == 0) virtio_queue_init(&queue, &device, 0, 0);
  else virtio_queue_restart(&queue);
  virtio_driver_ok(&device);
}

static void ping(u32 length) {
  struct buffer one = {buffer, length};
  u32 used = 0;
  memset(buffer, 0xa5, 64);
  if (virtq_add(&queue, &one, 0, 1) < 0) fail("no free descriptor");
  virtq_kick(&queue);
  if (virtq_wait(&queue, &used, 10000000000) < 0) fail("a buffer of %u bytes did not come back", length);
  expect(used == length && buffer[0] == 1, "a buffer of %u bytes: %u used, byte %x", length, used, buffer[0]);
  for (u32 i = 1; i < 64; i++) expect(buffer[i] == 0xa5, "byte %u was written", i);
}

static void bad(const char *what, u32 length, bool readable) {
  struct buffer one = {buffer, length};
  memset(buffer, 0xa5, 64);
  virtq_add(&queue, &one, readable, !readable);
  virtq_kick(&queue);
  u64 deadline = now_ns() + 10000000000;
  while (!(virtio_status(&device) & STATUS_NEEDS_RESET))
    if (now_ns() > deadline) fail("the device takes %s", what);
  expect(buffer[0] == 0xa5, "%s was written to", what);
  start();
  ping(1);
}

void payload(void) {
  if (!virtio_open(&device, VIRTIO_WATCHDOG, 0)) fail("no watchdog");
  expect(device.config == 0, "there is a device configuration");
  expect(virtio_offered(&device) == FEATURE_VERSION_1, "offered: %lx", virtio_offered(&device));
  buffer = allocate(64, 64);
  start();
  expect(queue.size == 8, "the queue has %u descriptors", queue.size);
  for (u32 i = 1; i <= 64; i++) ping(i);
  bad("a buffer to read", 8, true);
  bad("an empty buffer", 0, false);
  print("READY\n");
}
