#include "vsock.h"

static void offer(struct vsock *vsock, u8 *bytes) {
  struct buffer buffer = {bytes, VSOCK_RX_BYTES};
  int head = virtq_add(&vsock->queue[VSOCK_RX], &buffer, 0, 1);
  if (head < 0) fail("no free receive descriptor");
  vsock->rx_of[head] = bytes;
}

void vsock_start(struct vsock *vsock) {
  virtio_negotiate(&vsock->device, 0);
  for (u32 q = 0; q < VSOCK_QUEUES; q++) virtio_queue_restart(&vsock->queue[q]);
  virtio_driver_ok(&vsock->device);
  vsock->tx_free = VSOCK_TX_SLOTS;
  for (u32 i = 0; i < VSOCK_TX_SLOTS; i++) vsock->tx_stack[i] = i;
  for (u32 i = 0; i < vsock->rx_buffers; i++) offer(vsock, vsock->rx[i]);
  virtq_kick(&vsock->queue[VSOCK_RX]);
}

void vsock_open(struct vsock *vsock, u32 rx_buffers) {
  if (!virtio_open(&vsock->device, VIRTIO_VSOCK, 0)) fail("no vsock device");
  virtio_negotiate(&vsock->device, 0);
  for (u32 q = 0; q < VSOCK_QUEUES; q++) virtio_queue_init(&vsock->queue[q], &vsock->device, q, 0);
  vsock->cid = read32(vsock->device.config) | (u64)read32(vsock->device.config + 4) << 32;
  vsock->rx_buffers = rx_buffers;
  for (u32 i = 0; i < rx_buffers; i++) vsock->rx[i] = allocate(VSOCK_RX_BYTES, 4096);
  for (u32 i = 0; i < VSOCK_TX_SLOTS; i++) vsock->tx[i] = allocate(sizeof(struct vsock_header) + VSOCK_TX_BYTES, 64);
  vsock_start(vsock);
}

struct vsock_header *vsock_poll(struct vsock *vsock) {
  u32 length = 0;
  int head = virtq_poll(&vsock->queue[VSOCK_RX], &length);
  if (head < 0) return NULL;
  struct vsock_header *packet = (struct vsock_header *)vsock->rx_of[head];
  if (length < sizeof *packet || length != sizeof *packet + packet->len)
    fail("a packet of %u bytes says that its payload has %u", length, packet->len);
  if (packet->src_cid != HOST_CID || packet->dst_cid != vsock->cid)
    fail("a packet from %lu to %lu", packet->src_cid, packet->dst_cid);
  return packet;
}

void vsock_release(struct vsock *vsock, struct vsock_header *packet) {
  offer(vsock, (u8 *)packet);
  virtq_kick(&vsock->queue[VSOCK_RX]);
}

static void reap(struct vsock *vsock) {
  u32 length = 0;
  for (int head; (head = virtq_poll(&vsock->queue[VSOCK_TX], &length)) >= 0;) {
    expect(length == 0, "a transmitted packet came back with length %u", length);
    vsock->tx_stack[vsock->tx_free++] = vsock->tx_slot_of[head];
  }
}

struct vsock_header *vsock_room(struct vsock *vsock) {
  reap(vsock);
  if (vsock->tx_free == 0) return NULL;
  struct vsock_header *packet = (struct vsock_header *)vsock->tx[vsock->tx_stack[vsock->tx_free - 1]];
  memset(packet, 0, sizeof *packet);
  packet->src_cid = vsock->cid;
  packet->dst_cid = HOST_CID;
  packet->type = VSOCK_STREAM;
  return packet;
}

struct vsock_header *vsock_wait_room(struct vsock *vsock) {
  u64 deadline = now_ns() + 20000000000;
  for (;;) {
    struct vsock_header *packet = vsock_room(vsock);
    if (packet) return packet;
    if (now_ns() > deadline) fail("the device does not take packets");
  }
}

void vsock_send(struct vsock *vsock, struct vsock_header *packet, u32 payload) {
  u32 slot = vsock->tx_stack[--vsock->tx_free];
  struct buffer buffers[2] = {{packet, sizeof *packet}, {packet + 1, payload}};
  int head = virtq_add(&vsock->queue[VSOCK_TX], buffers, payload ? 2 : 1, 0);
  if (head < 0) fail("no free transmit descriptor");
  vsock->tx_slot_of[head] = slot;
  virtq_kick(&vsock->queue[VSOCK_TX]);
}
