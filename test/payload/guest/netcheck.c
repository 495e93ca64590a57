// virtio-net: two devices whose TAPs are bridged. Everything that is sent on the one has to come in on the other.
// Parameters: mac and mtu of the first device (checked when given), pairs, csum=0 when offloads are off, move=1 when the
// machine is moved once READY is printed, and a nonzero dword at guest address 4ff0 says that it has been.
#include "runtime/net.h"

#define WAIT_NS 20000000000
#define ETHERTYPE 0x88b5  // local experiments (IEEE 802), as the next
#define PROBE 0x88b6
#define RAM_FLAG 0x4ff0
#define BASE (NET_F_MAC | NET_F_STATUS | NET_F_MTU | NET_F_CTRL_VQ | NET_F_MQ | NET_F_GUEST_ANNOUNCE)
#define OFFLOADS (NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_CTRL_GUEST_OFFLOADS | NET_F_GUEST_TSO4 | NET_F_HOST_TSO4)

static struct nic a, b;
static u8 *frame;
static u32 pairs, mtu;
static u64 sent, received;

static void be16(u8 *at, u16 value) { at[0] = value >> 8, at[1] = value; }

// A frame from one device to the other, its header in front; returns the length with the header.
static u32 make(struct nic *from, struct nic *to, u32 bytes, u32 number) {
  memset(frame, 0, NET_HEADER);
  u8 *f = frame + NET_HEADER;
  memcpy(f, to->mac, 6);
  memcpy(f + 6, from->mac, 6);
  be16(f + 12, ETHERTYPE);
  for (u32 i = 14; i < bytes; i++) f[i] = number * 31 + i * 7 + (i >> 8);
  return bytes + NET_HEADER;
}

static void expect_frame(struct nic *to, u32 length, const char *what) {
  for (;;) {
    u32 got = 0;
    u8 *in = net_receive(to, &got, WAIT_NS);
    if (!in) fail("%s: nothing came in", what);
    struct net_header *header = (struct net_header *)in;
    u8 *f = in + NET_HEADER;
    // The host says something now and then.
    bool ours = f[12] == ETHERTYPE >> 8 && f[13] == (ETHERTYPE & 0xff);
    if (ours) {
      expect(got == length, "%s: %u bytes came in, %u went out", what, got, length);
      expect(header->num_buffers == 1, "%s: num_buffers is %u", what, header->num_buffers);
      expect(memcmp(f, frame + NET_HEADER, length - NET_HEADER) == 0, "%s: the frame has changed", what);
      received++;
    }
    net_return(to, in);
    if (ours) return;
  }
}

// Sends what is in `frame`, cut at the given places.
static void send(struct nic *from, u32 length, const u32 *cuts, u32 count) {
  struct buffer pieces[8];
  u32 at = 0;
  for (u32 i = 0; i <= count; i++) {
    u32 end = i == count ? length : cuts[i];
    pieces[i] = (struct buffer){frame + at, end - at};
    at = end;
  }
  u32 used = net_send(from, pieces, count + 1);
  expect(used == 0, "used length of a sent frame is %u", used);
  sent++;
}

static void drain(struct nic *nic) {
  u32 got;
  for (u8 *in; (in = net_receive(nic, &got, 20000000));) net_return(nic, in);
}

// A bridge takes a while before it forwards anything, and a device that has been reset until it takes part again.
static void await_network(void) {
  u64 deadline = now_ns() + 10000000000;
  for (;;) {
    // Neither taken for a frame of a check that comes too late, nor is something that the host says taken for it.
    u32 length = make(&a, &b, 100, 0);
    be16(frame + NET_HEADER + 12, PROBE);
    send(&a, length, NULL, 0);
    u32 got;
    u8 *in = net_receive(&b, &got, 20000000);
    if (in) {
      bool came = in[NET_HEADER + 12] == PROBE >> 8 && in[NET_HEADER + 13] == (PROBE & 0xff);
      net_return(&b, in);
      if (!came) continue;
      drain(&b);
      return;
    }
    if (now_ns() > deadline) fail("the network carries nothing");
  }
}

static void check_config(void) {
  u64 config = a.device.config;
  static const char digits[] = "0123456789abcdef";
  const char *mac = param("mac", NULL);
  if (mac)
    for (u32 i = 0; i < 6; i++)
      expect(mac[i * 3] == digits[a.mac[i] >> 4] && mac[i * 3 + 1] == digits[a.mac[i] & 15], "byte %u of the MAC is %x", i, a.mac[i]);
  else
    expect(a.mac[0] == 0x2e, "a generated MAC begins with %x", a.mac[0]);
  expect(memcmp(a.mac, b.mac, 6) != 0, "both devices have the same MAC");
  expect(read16(config + NET_CONFIG_PAIRS) == pairs, "%u pairs", read16(config + NET_CONFIG_PAIRS));
  expect(read16(config + NET_CONFIG_MTU) == mtu, "mtu %u", read16(config + NET_CONFIG_MTU));
  expect(read16(config + NET_CONFIG_STATUS) == NET_LINK_UP, "status %x", read16(config + NET_CONFIG_STATUS));
  expect(read16(a.device.common + COMMON_NUM_QUEUES) == 2 * pairs + 1, "%u queues", read16(a.device.common + COMMON_NUM_QUEUES));
  u8 before = read8(config);
  write8(config, before ^ 0xff);
  expect(read8(config) == before, "the MAC can be written");
}

static void check_frames(const char *what) {
  const u32 sizes[] = {14, 15, 59, 60, 61, 64, 128, 577, mtu + 13, mtu + 14};
  static const u32 splits[][3] = {{NET_HEADER, 0, 0}, {NET_HEADER, 26, 0}, {5, NET_HEADER, 20}, {1, 2, 25}, {13, 0, 0}};
  static const u32 counts[] = {1, 2, 3, 3, 1};
  u32 number = 0;
  for (u32 s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    u32 length = make(&a, &b, sizes[s], number++);
    send(&a, length, NULL, 0);
    expect_frame(&b, length, what);
    for (u32 i = 0; i < sizeof counts / sizeof counts[0]; i++) {
      if (splits[i][counts[i] - 1] >= length) continue;
      length = make(&b, &a, sizes[s], number++);
      send(&b, length, splits[i], counts[i]);
      expect_frame(&a, length, what);
    }
  }
}

// More frames at once than there are receive buffers: those that do not fit wait in the TAP.
static void check_burst(void) {
  u32 burst = a.tx.size;
  u8 *all = allocate(burst * 128, 64);
  for (u32 round = 0; round < 20; round++) {
    for (u32 i = 0; i < burst; i++) {
      u32 length = make(&a, &b, 100, i);
      memcpy(all + i * 128, frame, length);
      struct buffer piece = {all + i * 128, length};
      if (virtq_add(&a.tx, &piece, 1, 0) < 0) fail("no descriptor for frame %u of a burst", i);
      if (i % 7 == round % 7) virtq_kick(&a.tx);
    }
    virtq_kick(&a.tx);
    for (u32 i = 0; i < burst; i++)
      if (virtq_wait(&a.tx, NULL, WAIT_NS) < 0) fail("frame %u of a burst is not taken", i);
    sent += burst;
    for (u32 i = 0; i < burst; i++) {
      make(&a, &b, 100, i);
      expect_frame(&b, 100 + NET_HEADER, "burst");
    }
  }
}

static u16 sum16(const u8 *bytes, u32 length, u32 sum) {
  for (u32 i = 0; i + 1 < length; i += 2) sum += bytes[i] << 8 | bytes[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

// One TCP segment of `data` bytes over IPv4, to be cut by whoever comes last; its checksum is for others to finish.
static u32 make_tcp(u32 data, u32 gso) {
  u32 length = make(&a, &b, 54 + data, 1);
  struct net_header *header = (struct net_header *)frame;
  *header = (struct net_header){NET_HDR_NEEDS_CSUM, gso ? NET_GSO_TCPV4 : NET_GSO_NONE, 54, gso, 34, 16, 0};
  u8 *f = frame + NET_HEADER, *ip = f + 14, *tcp = f + 34;
  be16(f + 12, 0x0800);
  memset(ip, 0, 40);
  ip[0] = 0x45, ip[8] = 64, ip[9] = 6;
  be16(ip + 2, 40 + data);
  be16(ip + 4, 1);
  memcpy(ip + 12, "\x0a\x01\x01\x01\x0a\x01\x01\x02", 8);
  be16(ip + 10, ~sum16(ip, 20, 0));
  be16(tcp, 1000), be16(tcp + 2, 2000);
  tcp[12] = 5 << 4, tcp[13] = 0x10;
  be16(tcp + 14, 0xffff);
  be16(tcp + 16, sum16(ip + 12, 8, 6 + 20 + data));
  return length;
}

// Collects the TCP data that arrives; returns how many frames it took.
static u32 collect_tcp(u32 data, bool finished) {
  u32 frames = 0, at = 0;
  while (at < data) {
    u32 got = 0;
    u8 *in = net_receive(&b, &got, WAIT_NS);
    if (!in) fail("%u of %u bytes of a TCP segment came in", at, data);
    u8 *f = in + NET_HEADER;
    if (f[12] == 8 && f[13] == 0 && f[23] == 6) {
      struct net_header *header = (struct net_header *)in;
      u32 part = (f[16] << 8 | f[17]) - 40;
      expect(got == part + 54 + NET_HEADER, "a segment of %u bytes came in as %u", part, got);
      if (memcmp(f + 54, frame + NET_HEADER + 54 + at, part)) fail("TCP data has changed at %u", at);
      if (finished) {
        expect(header->gso_type == NET_GSO_NONE && !(header->flags & NET_HDR_NEEDS_CSUM), "header %x %x of a finished frame", header->flags, header->gso_type);
        u32 pseudo = sum16(f + 26, 8, 6 + 20 + part);
        f[54 + part] = 0;
        expect(sum16(f + 34, 20 + part + (part & 1), pseudo) == 0xffff, "TCP checksum is wrong");
      }
      at += part;
      frames++;
    }
    net_return(&b, in);
  }
  received += frames;
  sent++;
  return frames;
}

static void check_offloads(void) {
  u32 length = make_tcp(1000, 0);
  struct buffer piece = {frame, length};
  net_send(&a, &piece, 1);
  collect_tcp(1000, false);
  piece.length = make_tcp(40000, 1000);
  net_send(&a, &piece, 1);
  u32 frames = collect_tcp(40000, false);
  expect(frames == 1, "a segment of 40000 bytes came in as %u frames", frames);

  u64 none = 0, one = 1ull << 1, more = 1ull << 1 | 1ull << 8, never = 1ull << 40;
  expect(net_control(&b, NET_CTRL_OFFLOADS, 0, &more, 8) == NET_ERR, "offloads that were not negotiated can be set");
  expect(net_control(&b, NET_CTRL_OFFLOADS, 0, &never, 8) == NET_ERR, "offloads that do not exist can be set");
  expect(net_control(&b, NET_CTRL_OFFLOADS, 0, &none, 4) == NET_ERR, "a short command is taken");
  expect(net_control(&b, NET_CTRL_OFFLOADS, 1, &none, 8) == NET_ERR, "an unknown command is taken");
  expect(net_control(&b, NET_CTRL_OFFLOADS, 0, &one, 8) == NET_OK, "checksum offload cannot be set");
  net_send(&a, &piece, 1);
  frames = collect_tcp(40000, false);
  expect(frames == 40, "without TSO a segment of 40000 bytes came in as %u frames", frames);
  expect(net_control(&b, NET_CTRL_OFFLOADS, 0, &none, 8) == NET_OK, "offloads cannot be cleared");
  net_send(&a, &piece, 1);
  frames = collect_tcp(40000, true);
  expect(frames == 40, "without offloads a segment of 40000 bytes came in as %u frames", frames);

  // A driver that knows nothing of offloads gets finished frames, whatever the one before it wanted.
  net_reopen(&b, BASE);
  net_send(&a, &piece, 1);
  frames = collect_tcp(40000, true);
  expect(frames == 40, "a driver without offloads gets %u frames", frames);
  net_reopen(&b, BASE | OFFLOADS);
  await_network();
  piece.length = make_tcp(40000, 1000);
  net_send(&a, &piece, 1);
  frames = collect_tcp(40000, false);
  expect(frames == 1, "after a reset a segment of 40000 bytes came in as %u frames", frames);
}

static void check_control(void) {
  u16 n = pairs;
  expect(net_control(&a, NET_CTRL_MQ, 0, &n, 2) == NET_OK, "%u pairs are refused", n);
  n = 1;
  expect(net_control(&a, NET_CTRL_MQ, 0, &n, 2) == NET_OK, "1 pair is refused");
  n = 0;
  expect(net_control(&a, NET_CTRL_MQ, 0, &n, 2) == NET_ERR, "0 pairs are taken");
  n = pairs + 1;
  expect(net_control(&a, NET_CTRL_MQ, 0, &n, 2) == NET_ERR, "%u pairs are taken", n);
  n = 1;
  expect(net_control(&a, NET_CTRL_MQ, 0, &n, 1) == NET_ERR, "a short number of pairs is taken");
  expect(net_control(&a, NET_CTRL_MQ, 1, &n, 2) == NET_ERR, "an unknown command of class MQ is taken");
  expect(net_control(&a, NET_CTRL_ANNOUNCE, 0, NULL, 0) == NET_OK, "an acknowledgement is refused");
  expect(net_control(&a, NET_CTRL_ANNOUNCE, 1, NULL, 0) == NET_ERR, "an unknown announcement is taken");
  for (u8 command = 0; command <= 5; command++)
    expect(net_control(&a, NET_CTRL_RX, command, "\1", 1) == NET_OK, "receive mode %u is refused", command);
  expect(net_control(&a, NET_CTRL_RX, 6, "\1", 1) == NET_ERR, "receive mode 6 is taken");
  for (u8 command = 0; command <= 1; command++)
    expect(net_control(&a, NET_CTRL_VLAN, command, "\1\0", 2) == NET_OK, "VLAN command %u is refused", command);
  expect(net_control(&a, NET_CTRL_MAC, 1, a.mac, 6) == NET_ERR, "a MAC address can be set");
  expect(net_control(&a, 77, 0, a.mac, 6) == NET_ERR, "an unknown class is taken");
}

// Chains that no driver makes come back with nothing done, and the next good one is served.
static void check_bad_chains(void) {
  static u8 bytes[70000];
  static const struct {
    u32 queue, readable, readable_bytes, writable_bytes, used;
  } bad[] = {
      {1, 1, NET_HEADER, 0, 0},  // no frame
      {1, 1, NET_HEADER - 1, 0, 0},
      {1, 1, 1, 0, 0},
      {1, 1, 66000, 0, 0},  // more than any frame
      {1, 1, 70000, 0, 0},
      {1, 0, 0, 1000, 0},  // to be written
      {1, 1, 1000, 16, 0},
      {0, 1, 1000, 0, 0},  // to be read
      {0, 1, 16, 1000, 0},
      {0, 0, 0, NET_HEADER, 0},  // no room for a frame
      {0, 0, 0, 1, 0},
      {2, 1, 1, 1, 0},  // no command
      {2, 1, 2, 0, 0},  // no room for an answer
      {2, 0, 0, 1, 0},
      {2, 1, 2, 1, 1},  // no data: an error
  };
  struct virtqueue *queues[] = {&a.rx, &a.tx, &a.control};
  // The receive queue is full: frames make room.
  for (u32 i = 0; i < 4; i++) {
    u32 length = make(&b, &a, 100, i), got;
    send(&b, length, NULL, 0);
    if (!net_receive(&a, &got, WAIT_NS)) fail("no frame makes room");
  }
  memset(bytes, 0, sizeof bytes);
  bytes[0] = NET_CTRL_MQ;
  for (u32 i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct virtqueue *queue = queues[bad[i].queue];
    struct buffer pieces[2];
    u32 readable = 0, writable = 0, used = ~0u;
    if (bad[i].readable_bytes) pieces[readable++] = (struct buffer){bytes, bad[i].readable_bytes};
    if (bad[i].writable_bytes) pieces[readable + writable++] = (struct buffer){bytes + 35000, bad[i].writable_bytes};
    int head = virtq_add(queue, pieces, readable, writable);
    virtq_kick(queue);
    // On the receive queue good buffers come first: frames take them.
    if (bad[i].queue == 0)
      for (u32 f = 0; f < a.buffer_count; f++) send(&b, make(&b, &a, 100, f), NULL, 0);
    int done;
    while ((done = virtq_wait(queue, &used, WAIT_NS)) != head) {
      if (done < 0) fail("bad chain %u does not come back: status %x", i, virtio_status(&a.device));
      net_return(&a, a.buffer_of[done]);
    }
    expect(used == bad[i].used, "bad chain %u comes back with length %u", i, used);
    expect(!(virtio_status(&a.device) & STATUS_NEEDS_RESET), "bad chain %u: the device needs a reset", i);
  }
  net_reopen(&a, a.device.features);
  drain(&a);
}

// Frames are under way when the driver resets the device: it comes up again, and no buffer is written after the reset.
static void check_reset(void) {
  for (u32 round = 0; round < 10; round++) {
    u32 length = make(&a, &b, 1000, round);
    struct buffer piece = {frame, length};
    for (u32 i = 0; i < 50; i++) virtq_add(&a.tx, &piece, 1, 0);
    virtq_kick(&a.tx);
    spin_ns(round * 20000);
    virtio_reset(&b.device);
    for (u32 i = 0; i < b.buffer_count; i++) b.buffers[(u64)i * b.buffer_bytes] = 0x5a;
    u16 used = b.rx.used[1];
    spin_ns(1000000);
    for (u32 i = 0; i < b.buffer_count; i++)
      expect(b.buffers[(u64)i * b.buffer_bytes] == 0x5a, "buffer %u is written after a reset", i);
    expect(b.rx.used[1] == used, "a frame came in after a reset");
    for (u32 i = 0; i < 50; i++)
      if (virtq_wait(&a.tx, NULL, WAIT_NS) < 0) fail("frame %u is not taken", i);
    net_reopen(&b, BASE | OFFLOADS);
    await_network();
    length = make(&a, &b, 200, 7);
    send(&a, length, NULL, 0);
    expect_frame(&b, length, "after a reset");
  }
}

static void expect_announcement(struct nic *from, struct nic *at) {
  u32 got;
  u64 deadline = now_ns() + WAIT_NS;
  for (;;) {
    u8 *in = net_receive(at, &got, WAIT_NS);
    if (!in || now_ns() > deadline) fail("a device does not announce itself");
    u8 *f = in + NET_HEADER;
    bool announces = f[12] == 0x80 && f[13] == 0x35 && memcmp(f + 6, from->mac, 6) == 0;
    if (announces) expect(got == 60 + NET_HEADER && memcmp(f + 22, from->mac, 6) == 0, "an announcement of %u bytes", got);
    net_return(at, in);
    if (announces) return;
  }
}

// On another host everything goes on, but the network has to learn where the guest is now.
static void check_move(void) {
  u64 one = 1ull << 1, status = a.device.config + NET_CONFIG_STATUS;
  expect(net_control(&b, NET_CTRL_OFFLOADS, 0, &one, 8) == NET_OK, "checksum offload cannot be set");
  print("READY\n");
  while (read32(RAM_FLAG) == 0) spin_ns(1000000);
  expect(read16(status) == (NET_LINK_UP | NET_ANNOUNCE), "status %x after the move", read16(status));
  expect_announcement(&a, &b);
  expect_announcement(&b, &a);
  expect(net_control(&a, NET_CTRL_ANNOUNCE, 0, NULL, 0) == NET_OK, "an acknowledgement is refused");
  expect(read16(status) == NET_LINK_UP, "status %x after the acknowledgement", read16(status));
  struct buffer piece = {frame, make_tcp(40000, 1000)};
  net_send(&a, &piece, 1);
  u32 frames = collect_tcp(40000, false);
  expect(frames == 40, "offloads are forgotten: 40000 bytes came in as %u frames", frames);
  check_frames("frames after the move");
}

void payload(void) {
  pairs = param_number("pairs", 1);
  mtu = param_number("mtu", 1500);
  bool offloads = !param_is("csum", "0");
  u64 wanted = BASE | (offloads ? OFFLOADS : 0) | (param_is("event_idx", "0") ? 0 : FEATURE_EVENT_IDX);
  frame = allocate(1 << 17, 4096);
  net_open(&a, 0, wanted, 2 * pairs, 64, 2048);
  net_open(&b, 1, wanted, param_number("pairs_b", 1) * 2, 64, offloads ? 66000 : 2048);
  u64 offered = virtio_offered(&a.device);
  expect(!(offered & OFFLOADS) == !offloads, "offers %lx", offered);
  check_config();
  await_network();
  check_frames("frames");
  check_burst();
  check_control();
  check_bad_chains();
  if (offloads) {
    check_offloads();
    check_reset();
  }
  check_frames("frames at last");
  if (param_number("move", 0)) check_move();
  print("RESULT sent=%lu received=%lu features=%lx\n", sent, received, a.device.features);
}
