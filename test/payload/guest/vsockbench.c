// virtio-vsock throughput of one stream, polled: op=send (to port 52 of the host) or op=receive (on port 52), seconds.
#include "runtime/vsock.h"

enum { PORT = 52, GUEST_PORT = 1024 };
// What Linux' sockets have by default (net/vmw_vsock/af_vsock.c).
#define BUFFER 262144

static struct vsock vsock;
static u32 sent, forwarded, peer_alloc, received, advertised;
static u64 bytes, packets;
static u32 own_port, host_port;
static bool open;

static void say(u16 op, u32 length) {
  struct vsock_header *packet;
  while (!(packet = vsock_room(&vsock))) cpu_relax();
  packet->src_port = own_port;
  packet->dst_port = host_port;
  packet->op = op;
  packet->len = length;
  packet->buf_alloc = BUFFER;
  packet->fwd_cnt = advertised = received;
  vsock_send(&vsock, packet, length);
}

static bool take(void) {
  struct vsock_header *packet = vsock_poll(&vsock);
  if (!packet) return false;
  peer_alloc = packet->buf_alloc;
  forwarded = packet->fwd_cnt;
  switch (packet->op) {
    case VSOCK_REQUEST:
      own_port = packet->dst_port;
      host_port = packet->src_port;
      open = true;
      say(VSOCK_RESPONSE, 0);
      break;
    case VSOCK_RESPONSE:
      open = true;
      break;
    case VSOCK_RST:
      fail("the stream is reset");
    case VSOCK_RW:
      received += packet->len;
      bytes += packet->len;
      packets++;
      // Linux says so when half of the buffer is left to nobody's knowledge.
      if (received - advertised > BUFFER / 2) say(VSOCK_CREDIT_UPDATE, 0);
      break;
  }
  vsock_release(&vsock, packet);
  return true;
}

void payload(void) {
  bool sends = param_is("op", "send");
  u64 run_ns = param_number("seconds", 3) * 1000000000;
  vsock_open(&vsock, 128);
  // Interrupts are never wanted: the used rings are polled.
  for (u32 q = 0; q < VSOCK_QUEUES; q++) vsock.queue[q].avail[0] = 1;
  if (sends) {
    own_port = GUEST_PORT;
    host_port = PORT;
    say(VSOCK_REQUEST, 0);
  }
  print("READY\n");
  u64 deadline = now_ns() + 20000000000;
  while (!open) {
    take();
    if (now_ns() > deadline) fail("no stream");
  }
  // The first second warms up and is not counted.
  u64 start = now_ns() + 1000000000, end = start + run_ns, now;
  bool measuring = false;
  while ((now = now_ns()) < end) {
    if (!measuring && now >= start) {
      measuring = true;
      bytes = packets = 0;
    }
    while (take()) {
    }
    if (!sends) continue;
    u32 credit = peer_alloc - (sent - forwarded);
    if (credit == 0 || (sent - forwarded) > peer_alloc || !vsock_room(&vsock)) continue;
    u32 length = credit < VSOCK_TX_BYTES ? credit : VSOCK_TX_BYTES;
    say(VSOCK_RW, length);
    sent += length;
    bytes += length;
    packets++;
  }
  print("RESULT op=%s mib_per_s=%lu packets=%lu\n", sends ? "send" : "receive",
        (bytes >> 20) * 1000000000 / run_ns, packets);
}
