// A guest that lets disks come and go: uses each disk that is plugged in, and gives it up when it is asked to.
// Parameters: eject=0 (never gives anything up), unasked=1 (gives each disk up as soon as it has used it).
// Leaves alone what is no disk. Prints "SLOT <slot>" when a disk works, "ASKED <slot>" and "GONE <slot>". The power button ends it.
#include "runtime/block.h"
#include "runtime/hotplug.h"

static struct blk disks[32];
static u32 works, gone;

static void use(u32 slot) {
  static u8 out[4096], in[4096];
  struct blk *blk = &disks[slot];
  u32 nth = 0;
  u32 id = pci_read32(slot << 3, PCI_ID);
  if (id != ~0u && id >> 16 != 0x1042) {
    print("SLOT %u holds %x\n", slot, id);
    return;
  }
  while (pci_find(0x1af4, 0x1042, nth) != slot << 3)
    if (pci_find(0x1af4, 0x1042, nth++) == PCI_NONE) fail("slot %u holds no disk: %x", slot, pci_read32(slot << 3, 0));
  expect(pci_read16(slot << 3, PCI_COMMAND) == 0, "the command register of a new disk reads %x",
         pci_read16(slot << 3, PCI_COMMAND));
  struct pci_bar bar = pci_bar(slot << 3, 0);
  expect(bar.is_64bit && bar.size == 0x80000, "BAR 0 is at %lx with %lx bytes", bar.address, bar.size);
  blk_open(blk, nth, 0);
  for (u32 i = 0; i < sizeof out; i++) out[i] = i * 7 + slot;
  expect(blk_write(blk, 8, out, sizeof out) == BLK_OK, "a write to the disk in slot %u", slot);
  expect(blk_read(blk, 8, in, sizeof in) == BLK_OK, "a read of the disk in slot %u", slot);
  expect(memcmp(in, out, sizeof in) == 0, "the disk in slot %u reads other than was written", slot);
  works++;
  print("SLOT %u\n", slot);
}

static void give_up(u32 slot) {
  struct blk *blk = &disks[slot];
  if (blk->device.common) virtio_reset(&blk->device);
  u64 common = blk->device.common;
  hotplug_write(HOTPLUG_EJECT, 1u << slot);
  expect(pci_read32(slot << 3, PCI_ID) == ~0u, "slot %u reads %x after its ejection", slot, pci_read32(slot << 3, 0));
  if (common) expect(read32(common) == ~0u, "BAR 0 of slot %u reads %x after its ejection", slot, read32(common));
  expect(hotplug_read(HOTPLUG_EJECT) == 0, "the eject register reads %x", hotplug_read(HOTPLUG_EJECT));
  blk->device.common = 0;
  gone++;
  print("GONE %u\n", slot);
}

void payload(void) {
  bool eject = param_number("eject", 1), unasked = param_number("unasked", 0);
  hotplug_init();
  for (u32 slot = 0; slot < 32; slot++) pci_read32(slot << 3, PCI_ID);
  print("READY\n");
  for (;;) {
    u8 events = wait_for_events(EVENT_PCI | EVENT_POWER_BUTTON);
    u32 plugged = hotplug_read(HOTPLUG_PLUGGED);
    u32 unplug = hotplug_read(HOTPLUG_UNPLUG);
    expect(hotplug_read(HOTPLUG_UNPLUG) == 0, "reading does not clear the bitmaps");
    for (u32 slot = 0; slot < 32; slot++) {
      if (plugged >> slot & 1) {
        use(slot);
        if (unasked) give_up(slot);
      }
      if (!(unplug >> slot & 1)) continue;
      print("ASKED %u\n", slot);
      if (eject) give_up(slot);
    }
    if (events & EVENT_POWER_BUTTON) break;
  }
  print("RESULT works=%u gone=%u\n", works, gone);
}
