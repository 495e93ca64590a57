// A virtio-net driver (VIRTIO 1.3: 5.1): one pair of queues and the control queue, polled.
#pragma once
#include "virtio.h"

#define NET_F_CSUM (1ull << 0)
#define NET_F_GUEST_CSUM (1ull << 1)
#define NET_F_CTRL_GUEST_OFFLOADS (1ull << 2)
#define NET_F_MTU (1ull << 3)
#define NET_F_MAC (1ull << 5)
#define NET_F_GUEST_TSO4 (1ull << 7)
#define NET_F_GUEST_TSO6 (1ull << 8)
#define NET_F_GUEST_ECN (1ull << 9)
#define NET_F_GUEST_UFO (1ull << 10)
#define NET_F_HOST_TSO4 (1ull << 11)
#define NET_F_STATUS (1ull << 16)
#define NET_F_CTRL_VQ (1ull << 17)
#define NET_F_GUEST_ANNOUNCE (1ull << 21)
#define NET_F_MQ (1ull << 22)

enum { NET_CONFIG_MAC = 0, NET_CONFIG_STATUS = 6, NET_CONFIG_PAIRS = 8, NET_CONFIG_MTU = 10 };
enum { NET_LINK_UP = 1, NET_ANNOUNCE = 2 };
enum { NET_CTRL_RX = 0, NET_CTRL_MAC = 1, NET_CTRL_VLAN = 2, NET_CTRL_ANNOUNCE = 3, NET_CTRL_MQ = 4, NET_CTRL_OFFLOADS = 5 };
enum { NET_OK = 0, NET_ERR = 1, NET_NO_ANSWER = 0xff };
enum { NET_HDR_NEEDS_CSUM = 1, NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1 };

struct net_header {
  u8 flags, gso_type;
  u16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
} __attribute__((packed));
#define NET_HEADER 12

struct nic {
  struct virtio_device device;
  struct virtqueue rx, tx, control;
  u8 mac[6];
  u32 buffer_bytes;  // of each receive buffer, header included
  u32 buffer_count;
  u8 *buffers;
  u8 **buffer_of;  // by head
};

// Opens the nth device, negotiates, sets up pair 0 and, with CTRL_VQ, the control queue, which has that number, and posts
// `buffers` receive buffers.
void net_open(struct nic *nic, u32 nth, u64 features, u16 control_queue, u32 buffers, u32 buffer_bytes);
// Reset and the same again on the same rings.
void net_reopen(struct nic *nic, u64 features);
// One frame in pieces, the header first; waits until the device has taken it. Returns the used length.
u32 net_send(struct nic *nic, const struct buffer *pieces, u32 count);
// Waits for a frame; returns its buffer, header first, and its length with it, or NULL when the time is over. The buffer
// stays the caller's until net_return.
u8 *net_receive(struct nic *nic, u32 *length, u64 ns);
void net_return(struct nic *nic, u8 *buffer);
// A control command; returns the device's answer, NET_NO_ANSWER when it gave the chain back untouched.
u8 net_control(struct nic *nic, u8 class, u8 command, const void *data, u32 bytes);
