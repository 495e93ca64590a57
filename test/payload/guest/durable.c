// Writes to a virtio-blk disk through several queues, and keeps in memory that it shares with the host (ivshmem) what the
// disk owes: what was written, and which writes a completed flush covers. Never ends: it is meant to be killed.
// Parameters: queues, cpus, qd (requests under way in each queue), span (units in a row that are one queue's, in the second
// half of the disk; in the first it is one), seed, flushes (says "FLUSHED" at so many).
//
// A unit is 4 KiB of the disk and belongs to one queue. Its writes come one after the other, each with a higher version, which
// each of its sectors holds.
#include "runtime/block.h"
#include "runtime/pci.h"

#define UNIT 4096
#define SECTOR 512
#define MAX_RUN 32
#define LANES 4
#define DEPTH 16
#define LOG_ENTRIES 8192

// The shared memory: this header, then a ledger entry a unit. The host fills all in before the start.
struct shared_header {
  volatile u64 units, next_version, flushes, writes, zeroes, discards;
  u64 reserved[2];
};
// Of a unit: the version that a flush covers, the last one written or about to be, and the last that may read as zeroes.
struct ledger_entry {
  volatile u64 acknowledged, issued, zeroed, reserved;
};

struct range {
  u64 sector;
  u32 sectors, flags;
};

struct request {
  struct blk_header header;
  struct descriptor table[3] __attribute__((aligned(16)));
  struct range range;
  u8 *data;
  u32 unit, units;
  u64 version;
  u64 marks[LANES];
  volatile u8 status;
};

struct written {
  u32 unit, units;
  u64 version;
};

// A lane is a queue and what goes through it.
struct lane {
  struct virtqueue queue;
  struct request *requests;
  u32 free[DEPTH], free_count;
  bool is_flushing;
  u64 random;
  // Completed writes, in order; entries from `covered` to `completed` wait for a flush.
  volatile u64 completed, covered;
  struct written log[LOG_ENTRIES];
} __attribute__((aligned(64)));

static struct virtio_device device;
static struct lane lanes[LANES];
static struct shared_header *shared;
static struct ledger_entry *ledger;
static u8 *busy;
static u32 lane_count, processors, depth, units, span;
static u64 target;
static spinlock cover_lock;

static u32 below(struct lane *lane, u32 limit) {
  lane->random ^= lane->random << 13;
  lane->random ^= lane->random >> 7;
  lane->random ^= lane->random << 17;
  return (lane->random >> 32) * limit >> 32;
}

static u32 owner(u32 unit) { return (unit < units / 2 ? unit : unit / span) % lane_count; }

// One unit at random and those after it that are this lane's and not under way; 0 when there are none.
static u32 pick_run(struct lane *lane, u32 *first) {
  u32 index = lane - lanes, wanted = 1 + below(lane, below(lane, 4) ? 4 : MAX_RUN);
  u32 start = below(lane, units);
  while (start < units && (owner(start) != index || busy[start])) start++;
  if (below(lane, 2) && start >= units / 2) start -= start % span;
  u32 count = 0;
  while (count < wanted && start + count < units && owner(start + count) == index && !busy[start + count]) count++;
  *first = start;
  return count;
}

// A sector: version, its number on the disk, and a pattern of both.
static void fill(u8 *data, u32 unit, u32 count, u64 version) {
  u32 *word = (u32 *)data;
  for (u32 i = 0; i < count * (UNIT / SECTOR); i++, word += SECTOR / 4) {
    u32 sector = unit * (UNIT / SECTOR) + i;
    word[0] = version;
    word[1] = version >> 32;
    word[2] = sector;
    for (u32 at = 3; at < SECTOR / 4; at++) word[at] = (u32)version * 0x9e3779b1u + sector * 256 + at;
  }
}

static void submit(struct lane *lane, u32 index, u32 type) {
  struct request *request = &lane->requests[index];
  u32 run = 0;
  request->units = 0;
  if (type != BLK_FLUSH) {
    run = pick_run(lane, &request->unit);
    if (run == 0) type = BLK_FLUSH;
  }
  if (type == BLK_FLUSH && lane->is_flushing) {
    lane->free[lane->free_count++] = index;
    return;
  }
  request->header = (struct blk_header){type, 0, 0};
  request->status = BLK_NO_ANSWER;
  struct descriptor *chain = request->table;
  u32 last = 1;
  chain[0] = (struct descriptor){(u64)&request->header, sizeof request->header, DESC_NEXT, 1};
  if (type == BLK_FLUSH) {
    // Covers what is complete by now in all queues.
    lane->is_flushing = true;
    for (u32 l = 0; l < lane_count; l++) request->marks[l] = lanes[l].completed;
  } else {
    u64 version = __atomic_fetch_add(&shared->next_version, 1, __ATOMIC_SEQ_CST);
    u64 sector = (u64)request->unit * (UNIT / SECTOR);
    request->units = run;
    request->version = version;
    for (u32 i = 0; i < run; i++) {
      busy[request->unit + i] = 1;
      if (type != BLK_OUT) ledger[request->unit + i].zeroed = version;
      ledger[request->unit + i].issued = version;
    }
    if (type == BLK_OUT) {
      fill(request->data, request->unit, run, version);
      request->header.sector = sector;
      chain[1] = (struct descriptor){(u64)request->data, run * UNIT, DESC_NEXT, 2};
    } else {
      // Flag 0: what is zeroed may be unmapped.
      request->range = (struct range){sector, run * (UNIT / SECTOR), type == BLK_WRITE_ZEROES && below(lane, 3) != 0};
      chain[1] = (struct descriptor){(u64)&request->range, sizeof request->range, DESC_NEXT, 2};
    }
    last = 2;
  }
  chain[last] = (struct descriptor){(u64)&request->status, 1, DESC_WRITE, 0};
  lane->queue.desc[index] = (struct descriptor){(u64)chain, 16 * (last + 1), DESC_INDIRECT, 0};
  virtq_push(&lane->queue, index);
}

// A flush has completed: what was complete when it was sent is there for good.
static void cover(const u64 *marks) {
  spin_lock(&cover_lock);
  for (u32 l = 0; l < lane_count; l++) {
    struct lane *lane = &lanes[l];
    u64 at = lane->covered;
    for (; at < marks[l]; at++) {
      struct written *written = &lane->log[at % LOG_ENTRIES];
      for (u32 i = 0; i < written->units; i++) ledger[written->unit + i].acknowledged = written->version;
    }
    lane->covered = at;
  }
  bool reached = ++shared->flushes == target;
  spin_unlock(&cover_lock);
  if (reached) print("FLUSHED\n");
}

static void complete(struct lane *lane, u32 index) {
  struct request *request = &lane->requests[index];
  u32 type = request->header.type;
  if (request->status != BLK_OK)
    fail("request type %u, unit %u: status %u", type, request->unit, (u32)request->status);
  if (type == BLK_FLUSH) {
    lane->is_flushing = false;
    cover(request->marks);
  } else {
    // A discard may leave what was there, so that it covers nothing.
    if (type != BLK_DISCARD) {
      lane->log[lane->completed % LOG_ENTRIES] = (struct written){request->unit, request->units, request->version};
      compiler_barrier();
      lane->completed++;
    }
    for (u32 i = 0; i < request->units; i++) busy[request->unit + i] = 0;
    __atomic_add_fetch(type == BLK_OUT ? &shared->writes : type == BLK_DISCARD ? &shared->discards : &shared->zeroes, 1,
                       __ATOMIC_RELAXED);
  }
  lane->free[lane->free_count++] = index;
}

static u32 reap(struct lane *lane) {
  struct virtqueue *queue = &lane->queue;
  u32 count = 0;
  while (queue->used[1] != queue->last_used) {
    compiler_barrier();
    struct used_element *element = (struct used_element *)(queue->used + 2) + (queue->last_used & (queue->size - 1));
    u32 index = element->id;
    queue->last_used++;
    if (index >= depth) fail("used element names descriptor %u", index);
    complete(lane, index);
    count++;
  }
  return count;
}

static u32 choose(struct lane *lane) {
  // The log must not overtake itself.
  if (lane->completed - lane->covered > LOG_ENTRIES - 2 * DEPTH) return BLK_FLUSH;
  u32 dice = below(lane, 32);
  if (dice < 3) return BLK_FLUSH;
  if (dice < 6 && device.features & BLK_F_WRITE_ZEROES) return BLK_WRITE_ZEROES;
  if (dice < 8 && device.features & BLK_F_DISCARD) return BLK_DISCARD;
  return BLK_OUT;
}

static void run_lanes(void *unused) {
  (void)unused;
  for (;;) {
    u32 done = 0;
    for (u32 l = this_cpu()->index; l < lane_count; l += processors) {
      struct lane *lane = &lanes[l];
      done += reap(lane);
      u32 free = lane->free_count;
      for (u32 i = 0; i < free; i++) submit(lane, lane->free[--lane->free_count], choose(lane));
      virtq_kick(&lane->queue);
    }
    if (!done) cpu_relax();
  }
}

static void open_shared(void) {
  pci_init();
  pci_function function = pci_find(0x1af4, 0x1110, 0);
  if (function == PCI_NONE) fail("no ivshmem device");
  struct pci_bar bar = pci_bar(function, 2);
  pci_write16(function, PCI_COMMAND, PCI_COMMAND_MEMORY);
  map_range(bar.address, bar.size);
  shared = (struct shared_header *)bar.address;
  ledger = (struct ledger_entry *)(shared + 1);
  units = shared->units;
  if (sizeof *shared + units * sizeof *ledger > bar.size) fail("a ledger of %u units is larger than the memory", units);
}

void payload(void) {
  lane_count = param_number("queues", 1);
  depth = param_number("qd", 8);
  span = param_number("span", MAX_RUN);
  target = param_number("flushes", 1);
  if (lane_count == 0 || lane_count > LANES || depth == 0 || depth > DEPTH || span == 0) fail("bad parameters");
  open_shared();
  processors = start_processors(param_number("cpus", 1));
  if (!virtio_open(&device, VIRTIO_BLOCK, 0)) fail("no block device");
  virtio_negotiate(&device, FEATURE_EVENT_IDX | FEATURE_INDIRECT_DESC | BLK_F_MQ | BLK_F_FLUSH | BLK_F_DISCARD |
                                BLK_F_WRITE_ZEROES);
  if (!(device.features & FEATURE_INDIRECT_DESC) || !(device.features & BLK_F_FLUSH)) fail("a feature is missing");
  u64 sectors = read32(device.config) | (u64)read32(device.config + 4) << 32;
  if (sectors != (u64)units * (UNIT / SECTOR)) fail("the disk has %lu sectors", sectors);
  busy = allocate(units, 64);
  for (u32 l = 0; l < lane_count; l++) {
    struct lane *lane = &lanes[l];
    virtio_queue_init(&lane->queue, &device, l, 0);
    // Interrupts are never wanted: the used ring is polled.
    lane->queue.avail[0] = 1;
    lane->random = (param_number("seed", 1) + l + 1) * 0x9e3779b97f4a7c15ull;
    lane->requests = allocate(depth * sizeof(struct request), 64);
    for (u32 i = 0; i < depth; i++) {
      lane->requests[i].data = allocate(MAX_RUN * UNIT, 4096);
      lane->free[lane->free_count++] = i;
    }
  }
  virtio_driver_ok(&device);
  print("READY\n");
  run_on_all(processors, run_lanes, NULL);
}
