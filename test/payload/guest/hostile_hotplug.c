// Processors eject and abuse whatever is in the PCI slots while the host plugs disks in: ejections that nobody asked for, of one
// slot, of all, of empty ones, against configuration accesses, BAR moves, queue set-up, notifications and interrupts of the
// same devices on other processors. Afterwards only the host bridge is sure to be there.
// Parameters: cpus, seconds, seed.
#include "runtime/block.h"
#include "runtime/hotplug.h"

#define SLOTS 32
#define RING 16
#define BAR_STEP (8ull << 20)

static u64 deadline_ns, base_seed, top;
static volatile u64 operations, ejections, live;
static struct blk_header header;
static volatile u8 status;
static u8 *data;
static struct descriptor *desc;
static volatile u16 *avail, *used;

static u64 xorshift(u64 *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

// BAR 0 of what is in the slot now, as far as it is where this program has mapped pages; 0 otherwise.
static u64 bar_of(u32 slot) {
  u32 low = pci_read32(slot << 3, PCI_BAR0), high = pci_read32(slot << 3, PCI_BAR0 + 4);
  u64 address = ((u64)high << 32) | (low & ~0xfu);
  return address > top || address + SLOTS * BAR_STEP <= top ? 0 : address;
}

static void abuse(u32 slot, u64 random) {
  static const u8 statuses[] = {0, 3, 0xb, 0xf, 0xf, 0x40, 0xff};
  pci_function f = slot << 3;
  u64 bar;
  switch (random % 12) {
    case 0:
      // Seldom, so that there is something to abuse.
      if (random >> 44 & 7) return;
      hotplug_write(HOTPLUG_EJECT, random >> 32 & 7 ? 1u << slot : random >> 35 & 1 ? ~0u : (u32)(random >> 16));
      __atomic_add_fetch(&ejections, 1, __ATOMIC_RELAXED);
      return;
    case 1:
      hotplug_write(HOTPLUG_SEGMENT, random >> 16 & 1 ? 0 : random >> 32);
      (void)hotplug_read(random >> 8 & 1 ? HOTPLUG_PLUGGED : HOTPLUG_UNPLUG);
      return;
    case 2:
      for (u32 at = 0; at < 0x40; at += 4) (void)pci_read32(f, at);
      return;
    case 3:
      pci_write16(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
      bar = top - (random >> 16) % SLOTS * BAR_STEP;
      pci_write32(f, PCI_BAR0, (u32)bar | 4);
      pci_write32(f, PCI_BAR0 + 4, bar >> 32);
      return;
    case 4:
      pci_write32(f, 0x98, random & (1 << 20) ? 0x80000000 : 0);
      return;
  }
  if ((bar = bar_of(slot)) == 0) return;
  __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
  switch (random % 12) {
    case 5:
      write8(bar + COMMON_STATUS, statuses[(random >> 16) % sizeof statuses]);
      break;
    case 6:
    case 7:
      write8(bar + COMMON_STATUS, 0xb);
      write16(bar + COMMON_QUEUE_SELECT, 0);
      write16(bar + COMMON_QUEUE_SIZE, RING);
      write64(bar + COMMON_QUEUE_DESC, (u64)desc);
      write64(bar + COMMON_QUEUE_DRIVER, (u64)avail);
      write64(bar + COMMON_QUEUE_DEVICE, (u64)used);
      write16(bar + COMMON_QUEUE_VECTOR, 0);
      write16(bar + COMMON_QUEUE_ENABLE, 1);
      write8(bar + COMMON_STATUS, 0xf);
      break;
    case 8:
    case 9:
      for (u32 i = 0; i < 4; i++) avail[2 + (avail[1] + i) % RING] = (random >> i) % 5 * 3;
      avail[1] += 1 + (random >> 16) % 4;
      write16(bar + 0x6000, 0);
      break;
    case 10:
      write64(bar + 0x8000, 0xfee00000);
      write32(bar + 0x8008, 0x38);
      write32(bar + 0x800c, random >> 16 & 1);
      break;
    case 11:
      for (u32 at = 0; at < 0x38; at += 4) (void)read32(bar + at);
      break;
  }
}

static void race(void *unused) {
  (void)unused;
  u64 seed = base_seed * 0x9e3779b97f4a7c15 + this_cpu()->index * 0xbf58476d1ce4e5b9 + 1;
  while (now_ns() < deadline_ns) {
    u64 random = xorshift(&seed);
    // The host fills the lowest slots first.
    abuse((random >> 40) % (random >> 60 ? 6 : SLOTS), random);
    __atomic_add_fetch(&operations, 1, __ATOMIC_RELAXED);
  }
}

void payload(void) {
  u32 processors = start_processors(param_number("cpus", 4));
  base_seed = param_number("seed", 1);
  hotplug_init();
  data = allocate(65536, 4096);
  desc = allocate(RING * sizeof *desc, 4096);
  avail = allocate(4096, 4096);
  used = allocate(4096, 4096);
  header = (struct blk_header){BLK_IN, 0, 0};
  for (u32 i = 0; i + 2 < RING; i += 3) {
    desc[i] = (struct descriptor){(u64)&header, sizeof header, DESC_NEXT, i + 1};
    desc[i + 1] = (struct descriptor){(u64)data, 65536, DESC_NEXT | DESC_WRITE, i + 2};
    desc[i + 2] = (struct descriptor){(u64)&status, 1, DESC_WRITE, 0};
  }
  struct virtio_device rng;
  if (!virtio_open(&rng, VIRTIO_RNG, 0)) fail("no entropy device, whose BAR tells where those of others are");
  top = pci_bar(rng.function, 0).address;
  map_range(top - SLOTS * BAR_STEP, (SLOTS + 1) * BAR_STEP);
  print("READY\n");
  deadline_ns = now_ns() + param_number("seconds", 3) * 1000000000;
  run_on_all(processors, race, NULL);
  expect(pci_read32(0, PCI_ID) == 0x0d578086, "the host bridge reads %x", pci_read32(0, PCI_ID));
  print("RESULT cpus=%u operations=%lu ejections=%lu live=%lu\n", processors, operations, ejections, live);
}
