#include "net.h"

#define ANSWER_NS 10000000000

static void post(struct nic *nic, u8 *buffer) {
  struct buffer whole = {buffer, nic->buffer_bytes};
  int head = virtq_add(&nic->rx, &whole, 0, 1);
  if (head < 0) fail("no descriptor for a receive buffer");
  nic->buffer_of[head] = buffer;
}

static void post_all(struct nic *nic) {
  for (u32 i = 0; i < nic->buffer_count; i++) post(nic, nic->buffers + (u64)i * nic->buffer_bytes);
  virtq_kick(&nic->rx);
}

void net_open(struct nic *nic, u32 nth, u64 features, u16 control_queue, u32 buffers, u32 buffer_bytes) {
  if (!virtio_open(&nic->device, VIRTIO_NET, nth)) fail("no network device %u", nth);
  virtio_negotiate(&nic->device, features);
  virtio_queue_init(&nic->rx, &nic->device, 0, 0);
  virtio_queue_init(&nic->tx, &nic->device, 1, 0);
  if (nic->device.features & NET_F_CTRL_VQ) virtio_queue_init(&nic->control, &nic->device, control_queue, 0);
  for (u32 i = 0; i < 6; i++) nic->mac[i] = read8(nic->device.config + NET_CONFIG_MAC + i);
  nic->buffer_count = buffers;
  nic->buffer_bytes = buffer_bytes;
  nic->buffers = allocate((u64)buffers * buffer_bytes, 4096);
  nic->buffer_of = allocate(nic->rx.size * sizeof(u8 *), 8);
  virtio_driver_ok(&nic->device);
  post_all(nic);
}

void net_reopen(struct nic *nic, u64 features) {
  virtio_negotiate(&nic->device, features);
  virtio_queue_restart(&nic->rx);
  virtio_queue_restart(&nic->tx);
  if (nic->device.features & NET_F_CTRL_VQ) virtio_queue_restart(&nic->control);
  virtio_driver_ok(&nic->device);
  post_all(nic);
}

u32 net_send(struct nic *nic, const struct buffer *pieces, u32 count) {
  int head = virtq_add(&nic->tx, pieces, count, 0);
  if (head < 0) fail("no descriptors for a frame");
  virtq_kick(&nic->tx);
  u32 length = 0;
  int done = virtq_wait(&nic->tx, &length, ANSWER_NS);
  if (done != head) fail("frame %d came back as %d: device status %x", head, done, virtio_status(&nic->device));
  return length;
}

u8 *net_receive(struct nic *nic, u32 *length, u64 ns) {
  int head = virtq_wait(&nic->rx, length, ns);
  return head < 0 ? NULL : nic->buffer_of[head];
}

void net_return(struct nic *nic, u8 *buffer) {
  post(nic, buffer);
  virtq_kick(&nic->rx);
}

u8 net_control(struct nic *nic, u8 class, u8 command, const void *data, u32 bytes) {
  static u8 header[2];
  static volatile u8 status;
  header[0] = class;
  header[1] = command;
  status = NET_NO_ANSWER;
  struct buffer buffers[3] = {{header, 2}, {(void *)data, bytes}, {(void *)&status, 1}};
  if (bytes == 0) buffers[1] = buffers[2];
  int head = virtq_add(&nic->control, buffers, bytes ? 2 : 1, 1);
  virtq_kick(&nic->control);
  u32 length = 0;
  int done = virtq_wait(&nic->control, &length, ANSWER_NS);
  if (done != head) fail("command %u.%u came back as %d", class, command, done);
  expect(length == (status == NET_NO_ANSWER ? 0 : 1), "command %u.%u: used length %u", class, command, length);
  return status;
}
