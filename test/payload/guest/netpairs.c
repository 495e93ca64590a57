// virtio-net with two pairs of queues on a TAP of two, bridged to the TAP of a second device: frames go through the second pair
// while the driver uses it, and through the first alone while it does not.
// Parameters: rounds, in each of two lives of the driver.
#include "runtime/net.h"

#define WAIT_NS 20000000000
#define TRY_NS 200000000
#define BUFFERS 32
#define BUFFER_BYTES 2048
#define FEATURES (NET_F_MAC | NET_F_CTRL_VQ | NET_F_MQ)
#define PAIRS 2
#define FRAME_BYTES (NET_HEADER + 14 + 28 + 4)

static struct nic a, b;
static struct pair {
  struct virtqueue rx, tx;
  u8 *buffers, **buffer_of;
} pairs[PAIRS];
static u8 *frame;
static u32 number;

static void post(struct pair *pair, u8 *buffer) {
  struct buffer whole = {buffer, BUFFER_BYTES};
  int head = virtq_add(&pair->rx, &whole, 0, 1);
  if (head < 0) fail("no descriptor for a receive buffer");
  pair->buffer_of[head] = buffer;
}

static void open_pairs(void) {
  if (!virtio_open(&a.device, VIRTIO_NET, 0)) fail("no network device");
  virtio_negotiate(&a.device, FEATURES);
  for (u32 i = 0; i < PAIRS; i++) {
    struct pair *pair = &pairs[i];
    virtio_queue_init(&pair->rx, &a.device, 2 * i, 0);
    virtio_queue_init(&pair->tx, &a.device, 2 * i + 1, 0);
    pair->buffers = allocate(BUFFERS * BUFFER_BYTES, 4096);
    pair->buffer_of = allocate(pair->rx.size * sizeof(u8 *), 8);
  }
  virtio_queue_init(&a.control, &a.device, 2 * PAIRS, 0);
  for (u32 i = 0; i < 6; i++) a.mac[i] = read8(a.device.config + NET_CONFIG_MAC + i);
}

static void reset_pairs(void) {
  virtio_negotiate(&a.device, FEATURES);
  for (u32 i = 0; i < PAIRS; i++) virtio_queue_restart(&pairs[i].rx), virtio_queue_restart(&pairs[i].tx);
  virtio_queue_restart(&a.control);
}

static void start_pairs(void) {
  virtio_driver_ok(&a.device);
  for (u32 i = 0; i < PAIRS; i++) {
    for (u32 j = 0; j < BUFFERS; j++) post(&pairs[i], pairs[i].buffers + j * BUFFER_BYTES);
    virtq_kick(&pairs[i].rx);
  }
}

static void be16(u8 *at, u16 value) { at[0] = value >> 8, at[1] = value; }

// A datagram of IPv4 and UDP between the devices, one flow in both directions: by that a TAP chooses the queue that answers
// come in on. Returns its number, which is its data.
static u32 make(struct nic *from, struct nic *to) {
  bool out = from == &a;
  memset(frame, 0, FRAME_BYTES);
  u8 *f = frame + NET_HEADER, *ip = f + 14, *udp = ip + 20;
  memcpy(f, to->mac, 6);
  memcpy(f + 6, from->mac, 6);
  be16(f + 12, 0x0800);
  ip[0] = 0x45, ip[8] = 64, ip[9] = 17;
  be16(ip + 2, 32);
  memcpy(ip + 12, out ? "\x0a\x01\x01\x01\x0a\x01\x01\x02" : "\x0a\x01\x01\x02\x0a\x01\x01\x01", 8);
  u32 sum = 0;
  for (u32 i = 0; i < 20; i += 2) sum += ip[i] << 8 | ip[i + 1];
  be16(ip + 10, ~((sum & 0xffff) + (sum >> 16)));
  be16(udp, out ? 1000 : 2000);
  be16(udp + 2, out ? 2000 : 1000);
  be16(udp + 4, 12);
  number++;
  memcpy(udp + 8, &number, 4);
  return number;
}

// The number of a frame that make() has made, or 0.
static u32 number_of(const u8 *in) {
  u32 seen = 0;
  const u8 *f = in + NET_HEADER;
  if (f[12] == 0x08 && f[13] == 0x00 && f[23] == 17) memcpy(&seen, f + 14 + 28, 4);
  return seen;
}

static void send_on(struct virtqueue *queue) {
  struct buffer piece = {frame, FRAME_BYTES};
  int head = virtq_add(queue, &piece, 1, 0);
  virtq_kick(queue);
  if (head < 0 || virtq_wait(queue, NULL, WAIT_NS) != head) fail("a frame on queue %u is not taken", queue->index);
}

// Whether a frame of a's comes out of b; earlier ones are let pass.
static bool arrives_from(struct pair *pair, u64 ns) {
  u32 wanted = make(&a, &b);
  send_on(&pair->tx);
  for (u64 deadline = now_ns() + ns; now_ns() < deadline;) {
    u32 got;
    u8 *in = net_receive(&b, &got, 1000000);
    if (!in) continue;
    u32 seen = number_of(in);
    net_return(&b, in);
    if (seen == wanted) return true;
  }
  return false;
}

// Which pair a frame of b's comes in on, or NULL when it does not.
static struct pair *answer_arrives_on(u64 ns) {
  u32 wanted = make(&b, &a);
  send_on(&b.tx);
  for (u64 deadline = now_ns() + ns; now_ns() < deadline;)
    for (u32 i = 0; i < PAIRS; i++) {
      int head = virtq_wait(&pairs[i].rx, NULL, 1000000);
      if (head < 0) continue;
      u8 *in = pairs[i].buffer_of[head];
      u32 seen = number_of(in);
      post(&pairs[i], in);
      virtq_kick(&pairs[i].rx);
      if (seen == wanted) return &pairs[i];
    }
  return NULL;
}

static void use(u16 count) {
  expect(net_control(&a, NET_CTRL_MQ, 0, &count, 2) == NET_OK, "%u pairs are refused", count);
}

// The device takes a pair into use, and out of it, when it gets round to it: the first frames may go the old way.
static void check_second(void) {
  u64 deadline = now_ns() + WAIT_NS;
  while (!arrives_from(&pairs[1], TRY_NS) || answer_arrives_on(TRY_NS) != &pairs[1])
    if (now_ns() > deadline) fail("the second pair, which the driver uses, does not carry frames");
}

// A TAP has answers come in where the flow went out, if that queue takes part.
static void check_first_alone(void) {
  u64 deadline = now_ns() + WAIT_NS;
  for (bool alone = false; !alone;) {
    make(&a, &b);
    send_on(&pairs[1].tx);
    alone = answer_arrives_on(TRY_NS) == &pairs[0] && arrives_from(&pairs[0], TRY_NS);
    if (now_ns() > deadline) fail("the first pair does not carry frames alone");
  }
}

void payload(void) {
  u32 rounds = param_number("rounds", 10), changes = 0;
  frame = allocate(4096, 4096);
  open_pairs();
  net_open(&b, 1, NET_F_MAC, 0, BUFFERS, BUFFER_BYTES);
  expect(read16(a.device.config + NET_CONFIG_PAIRS) == PAIRS, "%u pairs", read16(a.device.config + NET_CONFIG_PAIRS));
  for (u32 life = 0; life < 2; life++) {
    if (life > 0) reset_pairs();
    start_pairs();
    // A driver begins with one pair, whatever the one before it used.
    check_first_alone();
    for (u32 round = 0; round < rounds; round++, changes += 2) {
      use(2);
      check_second();
      use(1);
      check_first_alone();
    }
    use(2);
    check_second();
  }
  print("RESULT changes=%u\n", changes);
}
