// virtio-net frames a second, polled: what is sent on the first device comes in on the second, whose TAP is on the same
// bridge. bytes (of a frame, without header), window (frames under way), seconds, event_idx.
#include "runtime/net.h"

#define BUFFER 2048
// Frames that do not arrive within this time are lost.
#define LOST_NS 20000000

static struct nic a, b;
static u8 *frames;
static u32 bytes, window;
static u64 sent, taken, received, lost, kicks;

static struct used_element *next_used(struct virtqueue *queue) {
  if (queue->used[1] == queue->last_used) return NULL;
  compiler_barrier();
  return (struct used_element *)(queue->used + 2) + (queue->last_used++ & (queue->size - 1));
}

// Every descriptor is a chain of its own, written once: it goes round and round.
static void prepare(struct nic *nic) {
  for (u32 i = 0; i < nic->tx.size; i++) {
    u8 *frame = frames + i * BUFFER;
    memset(frame, 0, NET_HEADER + bytes);
    memcpy(frame + NET_HEADER, b.mac, 6);
    memcpy(frame + NET_HEADER + 6, a.mac, 6);
    frame[NET_HEADER + 12] = 0x88, frame[NET_HEADER + 13] = 0xb5;
    nic->tx.desc[i] = (struct descriptor){(u64)frame, NET_HEADER + bytes, 0, 0};
  }
}

void payload(void) {
  bytes = param_number("bytes", 60);
  window = param_number("window", 512);
  u64 seconds = param_number("seconds", 3);
  u64 features = NET_F_MAC | (param_is("event_idx", "0") ? 0 : FEATURE_EVENT_IDX);
  net_open(&a, 0, features, 0, 0, BUFFER);
  net_open(&b, 1, features, 0, 0, BUFFER);
  frames = allocate((u64)a.tx.size * BUFFER, 4096);
  u8 *buffers = allocate((u64)b.rx.size * BUFFER, 4096);
  prepare(&a);
  // Interrupts are never wanted: the used rings are polled.
  a.tx.avail[0] = b.rx.avail[0] = 1;
  for (u32 i = 0; i < b.rx.size; i++) {
    b.rx.desc[i] = (struct descriptor){(u64)(buffers + i * BUFFER), BUFFER, DESC_WRITE, 0};
    virtq_push(&b.rx, i);
  }
  virtq_kick(&b.rx);

  u32 free = a.tx.size, next = 0;
  u16 *ids = allocate(a.tx.size * sizeof(u16), 8);
  for (u32 i = 0; i < a.tx.size; i++) ids[i] = i;
  // The first second warms up and is not counted.
  u64 start = now_ns() + 1000000000, end = start + seconds * 1000000000, now, progress = now_ns();
  bool measuring = false;
  u64 counted_from = 0, outstanding = 0;
  while ((now = now_ns()) < end) {
    if (!measuring && now >= start) {
      measuring = true;
      counted_from = received;
      if (param_is("mark", "1")) print("MEASURING\n");
      sent = taken = kicks = lost = 0;
    }
    struct used_element *used;
    u32 got = 0;
    while ((used = next_used(&b.rx))) {
      if (used->length < NET_HEADER) fail("a frame of %u bytes came in", used->length);
      virtq_push(&b.rx, used->id);
      got++;
    }
    if (got) {
      received += got;
      progress = now;
      outstanding = outstanding > got ? outstanding - got : 0;
      kicks += virtq_kick(&b.rx);
    }
    while ((used = next_used(&a.tx))) {
      ids[(next + free) & (a.tx.size - 1)] = used->id;
      free++;
      taken++;
    }
    u32 added = 0;
    while (free > 0 && outstanding < window) {
      virtq_push(&a.tx, ids[next & (a.tx.size - 1)]);
      next++, free--, outstanding++, added++;
    }
    if (added) {
      sent += added;
      kicks += virtq_kick(&a.tx);
    }
    if (!got && now - progress > LOST_NS) {
      lost += outstanding;
      outstanding = 0;
      progress = now;
    }
  }
  u64 rate = (received - counted_from) / seconds;
  expect(rate > 0, "nothing came in");
  print("RESULT bytes=%u window=%u frames_per_s=%lu lost=%lu kicks=%lu\n", bytes, window, rate, lost, kicks);
}
