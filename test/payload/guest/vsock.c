// virtio-vsock: says READY, echoes what comes to port 7, connects to the host when asked to, and ends when a client of the host
// connects to port 9. What happens to connections is printed. Parameters: dial (port of an echo server of the host), count
// (connections to it, at once), bytes (through each of them, both ways).
#include "runtime/vsock.h"

enum { ECHO_PORT = 7, QUIT_PORT = 9, FIRST_PORT = 1000 };
#define BUFFER 32768
#define CONNECTIONS 1100

enum state { FREE, DIALLING, OPEN };

struct connection {
  enum state state;
  u32 port, host_port;
  // What the host has room for: counts modulo 2^32.
  u32 sent, peer_forwarded, peer_alloc;
  // The host's bytes that are not echoed or checked yet.
  u32 received, forwarded, advertised;
  u8 *buffer;
  bool dialled, host_done, told_done;
  // Of dialled ones: what was written and what came back.
  u32 written, checked;
};

static struct vsock vsock;
static struct connection connections[CONNECTIONS];
static u32 highest, dialled_open, dialled_done, dial_bytes, resets;
static bool quit;

static u8 pattern(u32 port, u32 at) { return port * 59 + at * 7 + (at >> 8); }

static void send(struct connection *connection, struct vsock_header *packet, u16 op, u32 length) {
  packet->src_port = connection->port;
  packet->dst_port = connection->host_port;
  packet->op = op;
  packet->len = length;
  packet->buf_alloc = BUFFER;
  packet->fwd_cnt = connection->forwarded;
  connection->advertised = connection->forwarded;
  vsock_send(&vsock, packet, length);
}

static void say(struct connection *connection, u16 op, u32 flags) {
  struct vsock_header *packet = vsock_wait_room(&vsock);
  packet->flags = flags;
  send(connection, packet, op, 0);
}

static struct connection *find(u32 port, u32 host_port) {
  for (u32 i = 0; i < highest; i++)
    if (connections[i].state != FREE && connections[i].port == port && connections[i].host_port == host_port)
      return &connections[i];
  return NULL;
}

static struct connection *new_connection(u32 port, u32 host_port) {
  u32 i = 0;
  while (i < CONNECTIONS && connections[i].state != FREE) i++;
  if (i == CONNECTIONS) fail("too many connections");
  if (i >= highest) highest = i + 1;
  u8 *buffer = connections[i].buffer ? connections[i].buffer : allocate(BUFFER, 64);
  connections[i] = (struct connection){.port = port, .host_port = host_port, .buffer = buffer};
  return &connections[i];
}

static void take_data(struct connection *connection, const struct vsock_header *packet) {
  const u8 *bytes = (const u8 *)(packet + 1);
  if (packet->len > BUFFER - (connection->received - connection->forwarded)) fail("the host overruns its credit");
  for (u32 i = 0; i < packet->len; i++) {
    u32 at = connection->received + i;
    if (connection->dialled)
      expect(bytes[i] == pattern(connection->port, at), "port %u: byte %u is wrong", connection->port, at);
    else
      connection->buffer[at % BUFFER] = bytes[i];
  }
  connection->received += packet->len;
  if (!connection->dialled) return;
  connection->checked += packet->len;
  connection->forwarded = connection->received;
  if (connection->forwarded - connection->advertised > BUFFER / 2) say(connection, VSOCK_CREDIT_UPDATE, 0);
}

static void over(struct connection *connection) {
  if (connection->dialled) {
    dialled_done++;
    expect(connection->checked == dial_bytes, "port %u: %u bytes came back", connection->port, connection->checked);
  }
  connection->state = FREE;
}

static void take(const struct vsock_header *packet) {
  expect(packet->type == VSOCK_STREAM, "a packet of type %u", packet->type);
  struct connection *connection = find(packet->dst_port, packet->src_port);
  if (!connection) {
    if (packet->op != VSOCK_REQUEST) return;
    connection = new_connection(packet->dst_port, packet->src_port);
    if (packet->dst_port != ECHO_PORT && packet->dst_port != QUIT_PORT) {
      say(connection, VSOCK_RST, 0);
      return;
    }
    connection->state = OPEN;
    say(connection, VSOCK_RESPONSE, 0);
    if (packet->dst_port == QUIT_PORT) quit = true;
  }
  connection->peer_alloc = packet->buf_alloc;
  connection->peer_forwarded = packet->fwd_cnt;
  switch (packet->op) {
    case VSOCK_RESPONSE:
      if (connection->state == DIALLING) dialled_open++;
      connection->state = OPEN;
      break;
    case VSOCK_RST:
      resets++;
      if (!connection->told_done) print("RST %u\n", connection->port);
      over(connection);
      break;
    case VSOCK_SHUTDOWN:
      if (packet->flags & SHUT_SEND) connection->host_done = true;
      break;
    case VSOCK_RW:
      take_data(connection, packet);
      break;
    case VSOCK_CREDIT_REQUEST:
      say(connection, VSOCK_CREDIT_UPDATE, 0);
      break;
  }
}

// Sends what there is to send; returns whether it did.
static bool pump(struct connection *connection) {
  if (connection->state != OPEN || connection->told_done) return false;
  u32 credit = connection->peer_alloc - (connection->sent - connection->peer_forwarded);
  u32 waiting = connection->dialled ? dial_bytes - connection->written : connection->received - connection->forwarded;
  u32 length = waiting < credit ? waiting : credit;
  if (length > BUFFER) length = BUFFER;
  if (length > 0) {
    struct vsock_header *packet = vsock_wait_room(&vsock);
    u8 *bytes = (u8 *)(packet + 1);
    for (u32 i = 0; i < length; i++)
      bytes[i] = connection->dialled ? pattern(connection->port, connection->written + i)
                                     : connection->buffer[(connection->forwarded + i) % BUFFER];
    if (connection->dialled) connection->written += length;
    else connection->forwarded += length;
    send(connection, packet, VSOCK_RW, length);
    connection->sent += length;
    return true;
  }
  bool done = connection->dialled ? connection->checked == dial_bytes : connection->host_done && waiting == 0;
  if (!done) return false;
  connection->told_done = true;
  say(connection, VSOCK_SHUTDOWN, SHUT_RECEIVE | SHUT_SEND);
  return true;
}

void payload(void) {
  vsock_open(&vsock, 64);
  dial_bytes = param_number("bytes", 1000);
  u32 count = param_number("count", 0), host_port = param_number("dial", 52);
  u64 started = now_ns();
  for (u32 i = 0; i < count; i++) {
    struct connection *connection = new_connection(FIRST_PORT + i, host_port);
    connection->state = DIALLING;
    connection->dialled = true;
  }
  print("READY cid=%lu\n", vsock.cid);
  u32 dialled = 0;
  u64 deadline = now_ns() + param_number("wait", 30) * 1000000000;
  bool told = false;
  while (!quit) {
    bool busy = false;
    if (dialled < count) say(&connections[dialled++], VSOCK_REQUEST, 0);
    struct vsock_header *packet;
    while ((packet = vsock_poll(&vsock)) != NULL) {
      take(packet);
      vsock_release(&vsock, packet);
      busy = true;
    }
    for (u32 i = 0; i < highest; i++) busy |= pump(&connections[i]);
    if (count > 0 && dialled_done == count && !told) {
      told = true;
      print("DIALLED %u in %lu ms\n", dialled_open, (now_ns() - started) / 1000000);
    }
    if (busy) deadline = now_ns() + param_number("wait", 30) * 1000000000;
    else if (now_ns() > deadline) fail("nothing happens");
  }
  print("RESULT dialled=%u done=%u resets=%u\n", dialled_open, dialled_done, resets);
}
