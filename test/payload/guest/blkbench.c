// virtio-blk throughput, polled: op=randread|randwrite|read|write, bs, qd (per queue), queues, cpus, seconds, indirect;
// devs disks at once with so many queues each, warm_ms that are not measured. Says what each disk did too, and what all
// did from first to last: total.
#include "runtime/block.h"

struct slot {
  struct blk_header header;
  struct descriptor table[3] __attribute__((aligned(16)));
  u8 *data;
  volatile u8 status;
};

struct lane {
  struct virtqueue queue;
  struct slot *slots;
  u64 random, next_block, requests, total, kicks, errors;
} __attribute__((aligned(64)));

static struct virtio_device devices[MAX_CPUS];
static struct lane lanes[MAX_CPUS];
static u32 device_count, lane_count, processors, depth;
static u64 block_bytes, blocks, run_ns;
static bool is_write, is_random, indirect;
static volatile u64 start_ns, end_ns;

static u64 next_sector(struct lane *lane) {
  u64 block;
  if (is_random) {
    lane->random ^= lane->random << 13;
    lane->random ^= lane->random >> 7;
    lane->random ^= lane->random << 17;
    block = (u64)((unsigned __int128)lane->random * blocks >> 64);
  } else {
    block = lane->next_block;
    lane->next_block = block + 1 < blocks ? block + 1 : 0;
  }
  return block * (block_bytes / 512);
}

static void submit(struct lane *lane, u32 index) {
  struct slot *slot = &lane->slots[index];
  slot->header.sector = next_sector(lane);
  slot->status = BLK_NO_ANSWER;
  virtq_push(&lane->queue, indirect ? index : index * 3);
}

// The chains of all slots are written once; a request only changes its header and goes round again.
static void prepare(struct lane *lane, u32 index) {
  struct slot *slot = &lane->slots[index];
  slot->header.type = is_write ? BLK_OUT : BLK_IN;
  slot->data = allocate(block_bytes, 4096);
  u16 first = indirect ? 0 : index * 3;
  struct descriptor *chain = indirect ? slot->table : &lane->queue.desc[first];
  chain[0] = (struct descriptor){(u64)&slot->header, sizeof slot->header, DESC_NEXT, first + 1};
  chain[1] = (struct descriptor){(u64)slot->data, block_bytes, DESC_NEXT | (is_write ? 0 : DESC_WRITE), first + 2};
  chain[2] = (struct descriptor){(u64)&slot->status, 1, DESC_WRITE, 0};
  if (indirect)
    lane->queue.desc[index] = (struct descriptor){(u64)slot->table, sizeof slot->table, DESC_INDIRECT, 0};
}

// Takes every completion that is there; returns how many.
static u32 reap(struct lane *lane, bool again) {
  struct virtqueue *queue = &lane->queue;
  u32 count = 0;
  while (queue->used[1] != queue->last_used) {
    compiler_barrier();
    struct used_element *element = (struct used_element *)(queue->used + 2) + (queue->last_used & (queue->size - 1));
    u32 index = indirect ? element->id : element->id / 3;
    queue->last_used++;
    if (index >= depth) fail("used element names descriptor %u", element->id);
    if (lane->slots[index].status != BLK_OK) lane->errors++;
    lane->total++;
    if (again) submit(lane, index);
    count++;
  }
  return count;
}

static void run_lanes(void *unused) {
  (void)unused;
  u32 own = this_cpu()->index;
  for (u32 l = own; l < lane_count; l += processors) {
    for (u32 i = 0; i < depth; i++) submit(&lanes[l], i);
    lanes[l].kicks += virtq_kick(&lanes[l].queue);
  }
  bool measuring = false;
  u64 now;
  while ((now = now_ns()) < end_ns) {
    if (!measuring && now >= start_ns) {
      measuring = true;
      for (u32 l = own; l < lane_count; l += processors) lanes[l].requests = lanes[l].kicks = 0;
    }
    u32 done = 0;
    for (u32 l = own; l < lane_count; l += processors) {
      u32 count = reap(&lanes[l], true);
      lanes[l].requests += count;
      if (count) lanes[l].kicks += virtq_kick(&lanes[l].queue);
      done += count;
    }
    if (!done) cpu_relax();
  }
  for (u32 l = own; l < lane_count; l += processors) {
    u32 left = depth;
    u64 deadline = now_ns() + 10000000000;
    while (left) {
      left -= reap(&lanes[l], false);
      if (now_ns() > deadline) fail("%u requests of queue %u never came back", left, l);
    }
  }
}

void payload(void) {
  const char *op = param("op", "randread");
  is_write = streq(op, "randwrite") || streq(op, "write");
  is_random = streq(op, "randread") || streq(op, "randwrite");
  block_bytes = param_number("bs", is_random ? 4096 : 1 << 20);
  depth = param_number("qd", 32);
  device_count = param_number("devs", 1);
  u32 queues = param_number("queues", 1);
  lane_count = device_count * queues;
  run_ns = param_number("seconds", 5) * 1000000000;
  if (lane_count == 0 || lane_count > MAX_CPUS || depth == 0 || block_bytes % 512) fail("bad parameters");
  processors = start_processors(param_number("cpus", 1));

  u64 wanted = FEATURE_EVENT_IDX | (param_number("indirect", 0) ? FEATURE_INDIRECT_DESC : 0) | BLK_F_MQ | BLK_F_FLUSH;
  if (param_is("event_idx", "0")) wanted &= ~FEATURE_EVENT_IDX;
  for (u32 d = 0; d < device_count; d++) {
    struct virtio_device *device = &devices[d];
    if (!virtio_open(device, VIRTIO_BLOCK, param_number("dev", 0) + d)) fail("no block device");
    virtio_negotiate(device, wanted);
    indirect = device->features & FEATURE_INDIRECT_DESC;
    u64 there = (read32(device->config) | (u64)read32(device->config + 4) << 32) / (block_bytes / 512);
    if (there == 0) fail("the disk is smaller than one block");
    if (d == 0 || there < blocks) blocks = there;
  }
  for (u32 l = 0; l < lane_count; l++) {
    virtio_queue_init(&lanes[l].queue, &devices[l / queues], l % queues, 0);
    if (depth * (indirect ? 1 : 3) > lanes[l].queue.size)
      fail("depth %u does not fit a queue of %u", depth, lanes[l].queue.size);
    // Interrupts are never wanted: the used ring is polled.
    lanes[l].queue.avail[0] = 1;
    lanes[l].slots = allocate(depth * sizeof(struct slot), 64);
    lanes[l].random = 0x9e3779b97f4a7c15ull * (l + 1);
    lanes[l].next_block = blocks / lane_count * l;
    for (u32 i = 0; i < depth; i++) prepare(&lanes[l], i);
  }
  for (u32 d = 0; d < device_count; d++) virtio_driver_ok(&devices[d]);

  // What warms up is not counted.
  start_ns = now_ns() + param_number("warm_ms", 1000) * 1000000;
  end_ns = start_ns + run_ns;
  run_on_all(processors, run_lanes, NULL);

  u64 requests = 0, total = 0, kicks = 0, errors = 0;
  for (u32 d = 0; d < device_count; d++) {
    u64 own = 0;
    for (u32 l = d * queues; l < (d + 1) * queues; l++) own += lanes[l].requests;
    if (device_count > 1) print("RESULT disk=%u disk%u_requests=%lu\n", d, d, own);
    requests += own;
  }
  for (u32 l = 0; l < lane_count; l++) total += lanes[l].total, kicks += lanes[l].kicks, errors += lanes[l].errors;
  expect(errors == 0, "%lu requests ended with an error", errors);
  u64 iops = requests * 1000 / (run_ns / 1000000);
  print("RESULT op=%s bs=%lu qd=%u queues=%u cpus=%u indirect=%u iops=%lu mib_per_s=%lu kicks=%lu requests=%lu total=%lu\n",
        op, block_bytes, depth, queues, processors, indirect, iops, iops * block_bytes >> 20, kicks, requests, total);
}
