// virtio-vsock packets over polled rings (VIRTIO 1.3, 5.10).
#pragma once
#include "virtio.h"

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };
enum { HOST_CID = 2, VSOCK_STREAM = 1 };
enum {
  VSOCK_REQUEST = 1,
  VSOCK_RESPONSE,
  VSOCK_RST,
  VSOCK_SHUTDOWN,
  VSOCK_RW,
  VSOCK_CREDIT_UPDATE,
  VSOCK_CREDIT_REQUEST,
};
enum { SHUT_RECEIVE = 1, SHUT_SEND = 2 };

struct vsock_header {
  u64 src_cid, dst_cid;
  u32 src_port, dst_port, len;
  u16 type, op;
  u32 flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

#define VSOCK_RX_BYTES 4096
#define VSOCK_TX_BYTES 65536
#define VSOCK_TX_SLOTS 8

struct vsock {
  struct virtio_device device;
  struct virtqueue queue[VSOCK_QUEUES];
  u64 cid;
  u32 rx_buffers;
  u8 *rx[256];
  // The buffer of each descriptor, and which of the transmit slots are in flight, by descriptor.
  u8 *rx_of[256];
  u8 *tx[VSOCK_TX_SLOTS];
  u32 tx_free, tx_stack[VSOCK_TX_SLOTS], tx_slot_of[256];
};

// Finds the device, starts it and offers `rx_buffers` buffers of VSOCK_RX_BYTES.
void vsock_open(struct vsock *vsock, u32 rx_buffers);
// Brings the device up (again) over the same rings and buffers.
void vsock_start(struct vsock *vsock);
// The next packet, valid until vsock_release; NULL when there is none.
struct vsock_header *vsock_poll(struct vsock *vsock);
void vsock_release(struct vsock *vsock, struct vsock_header *packet);
// Room for a packet with VSOCK_TX_BYTES of payload behind it, zeroed header; NULL while all slots are in flight.
struct vsock_header *vsock_room(struct vsock *vsock);
// The same, once there is room; fails when the device does not make any.
struct vsock_header *vsock_wait_room(struct vsock *vsock);
// Sends what vsock_room gave, with `payload` bytes, as one chain of one or two descriptors.
void vsock_send(struct vsock *vsock, struct vsock_header *packet, u32 payload);
