// virtio-vsock abused: packets of random headers in chains of random shapes, receive buffers too small for a packet, more data than
// the device has room for. Every now and then, and at the end, a stream to port 52 of the host, which echoes, must work.
// On port 53 the host listens and never reads. Parameters: rounds, seed.
#include "runtime/vsock.h"

enum { ECHO = 52, SINK = 53 };
#define BUFFER 65536

static struct vsock vsock;
static u64 seed;
static u32 next_port = 5000;

static u64 next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static u32 below(u32 limit) { return next_random() % limit; }

static void send_packet(struct vsock_header *packet, u32 port, u32 host_port, u16 op, u32 length, u32 forwarded) {
  packet->src_port = port;
  packet->dst_port = host_port;
  packet->op = op;
  packet->len = length;
  packet->buf_alloc = BUFFER;
  packet->fwd_cnt = forwarded;
  vsock_send(&vsock, packet, length);
}

static void send(u32 port, u32 host_port, u16 op, u32 length, u32 forwarded) {
  send_packet(vsock_wait_room(&vsock), port, host_port, op, length, forwarded);
}

// Waits for a packet of that stream and operation, passing over all others but resets of the stream; returns its length.
static u32 await(u32 port, u16 op, u8 *into, u32 *forwarded) {
  u64 deadline = now_ns() + 20000000000;
  while (now_ns() < deadline) {
    struct vsock_header *packet = vsock_poll(&vsock);
    if (!packet) continue;
    u16 got = packet->op;
    bool ours = packet->dst_port == port;
    u32 length = packet->len;
    if (ours && forwarded) *forwarded = packet->fwd_cnt;
    if (ours && got == op && into) memcpy(into, packet + 1, length);
    vsock_release(&vsock, packet);
    if (ours && got == op) return length;
    if (ours && got == VSOCK_RST) fail("port %u: a reset in place of operation %u", port, op);
  }
  fail("port %u: operation %u does not come", port, op);
}

static void expect_service(void) {
  static u8 back[VSOCK_RX_BYTES];
  u32 port = next_port++, total = 0;
  send(port, ECHO, VSOCK_REQUEST, 0, 0);
  await(port, VSOCK_RESPONSE, NULL, NULL);
  struct vsock_header *packet = vsock_wait_room(&vsock);
  for (u32 i = 0; i < 10000; i++) ((u8 *)(packet + 1))[i] = i * 3 + port;
  send_packet(packet, port, ECHO, VSOCK_RW, 10000, 0);
  while (total < 10000) {
    u32 length = await(port, VSOCK_RW, back, NULL);
    for (u32 i = 0; i < length; i++) expect(back[i] == (u8)((total + i) * 3 + port), "byte %u is wrong", total + i);
    total += length;
  }
  send(port, ECHO, VSOCK_RST, 0, total);
}

// More than the device has room for: it must end the stream, and only that.
static void overrun(void) {
  u32 port = next_port++, sent = 0, forwarded = 0;
  send(port, SINK, VSOCK_REQUEST, 0, 0);
  await(port, VSOCK_RESPONSE, NULL, NULL);
  u64 deadline = now_ns() + 20000000000;
  for (;;) {
    send(port, SINK, VSOCK_RW, 60000, 0);
    sent += 60000;
    for (struct vsock_header *packet; (packet = vsock_poll(&vsock)) != NULL;) {
      bool reset = packet->dst_port == port && packet->op == VSOCK_RST;
      if (packet->dst_port == port) forwarded = packet->fwd_cnt;
      vsock_release(&vsock, packet);
      if (reset) {
        expect(sent - forwarded > BUFFER, "a reset after %u bytes, of which the host had %u", sent, forwarded);
        return;
      }
    }
    if (now_ns() > deadline) fail("%u bytes beyond the credit go unpunished", sent - forwarded);
  }
}

static u32 odd(void) {
  static const u32 values[] = {0, 1, 2, 43, 44, 52, 53, 65535, 65536, 65537, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff};
  u32 choice = below(sizeof values / sizeof values[0] + 1);
  return choice < sizeof values / sizeof values[0] ? values[choice] : (u32)next_random();
}

static void random_packet(u8 *bytes) {
  struct vsock_header *packet = (struct vsock_header *)bytes;
  u32 payload = below(3) ? below(200) : below(70000);
  *packet = (struct vsock_header){
      .src_cid = below(10) ? vsock.cid : odd(),
      .dst_cid = below(10) ? HOST_CID : odd() | (u64)odd() << 32,
      .src_port = below(8),
      .dst_port = below(3) ? ECHO + below(3) : odd(),
      .len = below(4) ? payload : odd(),
      .type = below(10) ? VSOCK_STREAM : odd(),
      .op = below(10) ? below(9) : odd(),
      .flags = odd(),
      .buf_alloc = odd(),
      .fwd_cnt = odd(),
  };
  // Chains of one to four buffers, header and payload divided anyhow, once in a while with a part for the device to write.
  u32 total = sizeof *packet + payload, at = 0, count = 1 + below(4);
  if (!below(20)) total = 1 + below(sizeof *packet);
  struct buffer buffers[5];
  for (u32 i = 0; i < count; i++) {
    u32 length = i + 1 == count ? total - at : below(2) ? below(60) : below(total);
    if (length > total - at) length = total - at;
    buffers[i] = (struct buffer){bytes + at, length};
    at += length;
  }
  u32 writable = below(20) ? 0 : 1;
  buffers[count] = (struct buffer){bytes + 80000, 64};
  virtq_add(&vsock.queue[VSOCK_TX], buffers, count, writable);
}

// Receive buffers as no driver has them; those that hold a packet are filled by whatever the rounds provoke.
static void odd_buffers(u8 *bytes) {
  static const u32 sizes[] = {1, 43, 44, 45, 46, 100, 4096, 65580, 131072};
  for (u32 i = 0; i < 64; i++) {
    u32 first = sizes[below(9)];
    struct buffer buffers[3] = {{bytes, first}, {bytes + 200000, 1 + below(50)}, {bytes + 300000, 1 + below(5000)}};
    if (below(10) == 0) virtq_add(&vsock.queue[VSOCK_RX], buffers, 1, below(2));
    else virtq_add(&vsock.queue[VSOCK_RX], buffers, 0, 1 + below(3));
  }
  virtq_kick(&vsock.queue[VSOCK_RX]);
}

void payload(void) {
  seed = param_number("seed", 0x2545f4914f6cdd1d);
  u32 rounds = param_number("rounds", 30);
  vsock_open(&vsock, 64);
  u8 *packets = allocate(1 << 20, 4096), *buffers = allocate(1 << 20, 4096);
  print("READY\n");
  expect_service();
  overrun();
  u64 sent = 0;
  for (u32 round = 0; round < rounds; round++) {
    virtio_negotiate(&vsock.device, 0);
    for (u32 q = 0; q < VSOCK_QUEUES; q++) virtio_queue_restart(&vsock.queue[q]);
    virtio_driver_ok(&vsock.device);
    if (below(4)) odd_buffers(buffers);
    struct buffer event = {buffers + 400000, 4 + below(8)};
    virtq_add(&vsock.queue[VSOCK_EVENT], &event, 0, 1);
    virtq_kick(&vsock.queue[VSOCK_EVENT]);
    for (u32 i = 0; i < 300; i++) {
      random_packet(packets + below(4) * 100000);
      sent++;
      virtq_kick(&vsock.queue[VSOCK_TX]);
      if (below(8) == 0) virtq_wait(&vsock.queue[VSOCK_TX], NULL, 1000000000);
      while (virtq_poll(&vsock.queue[VSOCK_TX], NULL) >= 0) {
      }
      while (virtq_poll(&vsock.queue[VSOCK_RX], NULL) >= 0) {
      }
      expect(vsock.queue[VSOCK_EVENT].used[1] == 0, "the device has something to say on the event queue");
    }
    vsock_start(&vsock);
    // What the rounds have opened is forgotten; the stream below has a port of its own.
    expect_service();
  }
  overrun();
  expect_service();
  print("RESULT packets=%lu\n", sent);
}
