#include "virtio.h"

static u64 structure_address(struct virtio_device *device, u32 capability, u32 *length) {
  u8 bar = pci_read8(device->function, capability + 4);
  *length = pci_read32(device->function, capability + 12);
  u64 address = pci_bar(device->function, bar).address + pci_read32(device->function, capability + 8);
  map_range(address, *length);
  return address;
}

static void open_msix(struct virtio_device *device) {
  u32 capability = pci_capability(device->function, PCI_CAPABILITY_MSIX, 0);
  device->msix_capability = capability;
  if (!capability) return;
  u32 table = pci_read32(device->function, capability + 4);
  u32 pba = pci_read32(device->function, capability + 8);
  device->msix_entries = (pci_read16(device->function, capability + 2) & 0x7ff) + 1;
  device->msix_table = pci_bar(device->function, table & 7).address + (table & ~7u);
  device->msix_pba = pci_bar(device->function, pba & 7).address + (pba & ~7u);
  map_range(device->msix_table, device->msix_entries * 16);
  map_range(device->msix_pba, device->msix_entries / 8 + 8);
}

bool virtio_open(struct virtio_device *device, u16 type, u32 nth) {
  *device = (struct virtio_device){.function = pci_find(0x1af4, 0x1040 + type, nth)};
  if (device->function == PCI_NONE) return false;
  for (u32 at = 0; (at = pci_capability(device->function, PCI_CAPABILITY_VENDOR, at)) != 0;) {
    u32 length;
    switch (pci_read8(device->function, at + 3)) {
      case 1:
        device->common = structure_address(device, at, &length);
        break;
      case 2:
        device->notify = structure_address(device, at, &length);
        device->notify_multiplier = pci_read32(device->function, at + 16);
        break;
      case 3:
        device->isr = structure_address(device, at, &length);
        break;
      case 4:
        device->config = structure_address(device, at, &length);
        break;
      case 5:
        device->config_window = at;
        break;
    }
  }
  if (!device->common || !device->notify || !device->isr) fail("virtio device %u lacks a structure", type);
  open_msix(device);
  pci_write16(device->function, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  return true;
}

u8 virtio_status(struct virtio_device *device) { return read8(device->common + COMMON_STATUS); }

void virtio_set_status(struct virtio_device *device, u8 status) { write8(device->common + COMMON_STATUS, status); }

void virtio_reset(struct virtio_device *device) {
  virtio_set_status(device, 0);
  u64 deadline = now_ns() + 5000000000;
  while (virtio_status(device) != 0)
    if (now_ns() > deadline) fail("the device does not finish its reset: status %x", virtio_status(device));
}

u64 virtio_offered(struct virtio_device *device) {
  write32(device->common + COMMON_DEVICE_FEATURE_SELECT, 1);
  u64 high = read32(device->common + COMMON_DEVICE_FEATURE);
  write32(device->common + COMMON_DEVICE_FEATURE_SELECT, 0);
  return high << 32 | read32(device->common + COMMON_DEVICE_FEATURE);
}

void virtio_negotiate(struct virtio_device *device, u64 wanted) {
  virtio_reset(device);
  virtio_set_status(device, STATUS_ACKNOWLEDGE);
  virtio_set_status(device, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
  u64 offered = virtio_offered(device);
  if (!(offered & FEATURE_VERSION_1)) fail("VERSION_1 is not offered: %lx", offered);
  device->features = offered & (wanted | FEATURE_VERSION_1);
  write32(device->common + COMMON_DRIVER_FEATURE_SELECT, 0);
  write32(device->common + COMMON_DRIVER_FEATURE, device->features);
  write32(device->common + COMMON_DRIVER_FEATURE_SELECT, 1);
  write32(device->common + COMMON_DRIVER_FEATURE, device->features >> 32);
  virtio_set_status(device, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
  if (!(virtio_status(device) & STATUS_FEATURES_OK)) fail("the device refuses features %lx", device->features);
}

void virtio_driver_ok(struct virtio_device *device) {
  virtio_set_status(device, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
  if (virtio_status(device) & STATUS_NEEDS_RESET) fail("the device needs a reset right after DRIVER_OK");
}

u16 virtio_queue_max(struct virtio_device *device, u16 index) {
  write16(device->common + COMMON_QUEUE_SELECT, index);
  return read16(device->common + COMMON_QUEUE_SIZE);
}

static void write_address(u64 at, u64 address) {
  write32(at, address);
  write32(at + 4, address >> 32);
}

void virtio_queue_program(struct virtqueue *queue) {
  struct virtio_device *device = queue->device;
  write16(device->common + COMMON_QUEUE_SELECT, queue->index);
  write16(device->common + COMMON_QUEUE_SIZE, queue->size);
  write_address(device->common + COMMON_QUEUE_DESC, (u64)queue->desc);
  write_address(device->common + COMMON_QUEUE_DRIVER, (u64)queue->avail);
  write_address(device->common + COMMON_QUEUE_DEVICE, (u64)queue->used);
  queue->notify = device->notify + read16(device->common + COMMON_QUEUE_NOTIFY_OFF) * device->notify_multiplier;
  queue->event_idx = device->features & FEATURE_EVENT_IDX;
  write16(device->common + COMMON_QUEUE_ENABLE, 1);
}

static void clear_rings(struct virtqueue *queue) {
  memset(queue->desc, 0, 16 * queue->size);
  memset((void *)queue->avail, 0, 6 + 2 * queue->size);
  memset((void *)queue->used, 0, 6 + 8 * queue->size);
  for (u16 i = 0; i < queue->size; i++) queue->desc[i].next = i + 1;
  queue->next_avail = queue->published = queue->last_used = queue->free_head = 0;
  queue->free_count = queue->size;
}

void virtio_queue_init(struct virtqueue *queue, struct virtio_device *device, u16 index, u16 size) {
  u16 max = virtio_queue_max(device, index);
  if (max == 0) fail("the device has no queue %u", index);
  *queue = (struct virtqueue){.device = device, .index = index, .size = size && size < max ? size : max};
  queue->desc = allocate(16 * queue->size, 4096);
  queue->avail = allocate(6 + 2 * queue->size, 64);
  queue->used = allocate(6 + 8 * queue->size, 64);
  clear_rings(queue);
  virtio_queue_program(queue);
}

void virtio_queue_restart(struct virtqueue *queue) {
  clear_rings(queue);
  virtio_queue_program(queue);
}

void virtq_push(struct virtqueue *queue, u16 head) {
  queue->avail[2 + (queue->next_avail & (queue->size - 1))] = head;
  queue->next_avail++;
}

static void fill(struct descriptor *descriptor, const struct buffer *buffer, bool writable) {
  descriptor->address = (u64)buffer->address;
  descriptor->length = buffer->length;
  descriptor->flags = writable ? DESC_WRITE : 0;
}

int virtq_add(struct virtqueue *queue, const struct buffer *buffers, u32 readable, u32 writable) {
  u32 total = readable + writable;
  if (total == 0 || queue->free_count < total) return -1;
  u16 head = queue->free_head, at = head;
  for (u32 i = 0; i < total; i++) {
    fill(&queue->desc[at], &buffers[i], i >= readable);
    if (i + 1 < total) queue->desc[at].flags |= DESC_NEXT;
    at = queue->desc[at].next;
  }
  queue->free_head = at;
  queue->free_count -= total;
  virtq_push(queue, head);
  return head;
}

int virtq_add_indirect(struct virtqueue *queue, struct descriptor *table, const struct buffer *buffers, u32 readable,
                       u32 writable) {
  u32 total = readable + writable;
  if (total == 0 || queue->free_count == 0) return -1;
  for (u32 i = 0; i < total; i++) {
    fill(&table[i], &buffers[i], i >= readable);
    table[i].next = i + 1;
    if (i + 1 < total) table[i].flags |= DESC_NEXT;
  }
  u16 head = queue->free_head;
  queue->free_head = queue->desc[head].next;
  queue->free_count--;
  queue->desc[head].address = (u64)table;
  queue->desc[head].length = total * 16;
  queue->desc[head].flags = DESC_INDIRECT;
  virtq_push(queue, head);
  return head;
}

void virtq_notify(struct virtqueue *queue) { write16(queue->notify, queue->index); }

bool virtq_kick(struct virtqueue *queue) {
  u16 old = queue->published, new = queue->next_avail;
  if (old == new) return false;
  compiler_barrier();
  queue->avail[1] = new;
  queue->published = new;
  // The device's wish is read only after the new index is visible to it (2.7.13.4.1).
  full_barrier();
  bool wanted;
  if (queue->event_idx) {
    u16 event = queue->used[2 + 4 * queue->size];
    wanted = (u16)(new - event - 1) < (u16)(new - old);
  } else {
    wanted = !(queue->used[0] & 1);
  }
  if (wanted) virtq_notify(queue);
  return wanted;
}

int virtq_poll(struct virtqueue *queue, u32 *length) {
  if (queue->used[1] == queue->last_used) return -1;
  compiler_barrier();
  struct used_element *element =
      (struct used_element *)(queue->used + 2) + (queue->last_used & (queue->size - 1));
  u32 head = element->id;
  if (length) *length = element->length;
  queue->last_used++;
  if (queue->event_idx) queue->avail[2 + queue->size] = queue->last_used;
  if (head >= queue->size) {
    report_failure("queue %u: used element names descriptor %u", queue->index, head);
    return -1;
  }
  u16 at = head, count = 1;
  while (!(queue->desc[at].flags & DESC_INDIRECT) && queue->desc[at].flags & DESC_NEXT && count < queue->size) {
    at = queue->desc[at].next;
    count++;
  }
  queue->desc[at].next = queue->free_head;
  queue->free_head = head;
  queue->free_count += count;
  return head;
}

int virtq_wait(struct virtqueue *queue, u32 *length, u64 ns) {
  u64 deadline = now_ns() + ns;
  for (;;) {
    int head = virtq_poll(queue, length);
    if (head >= 0 || now_ns() > deadline) return head;
    cpu_relax();
  }
}

void msix_enable(struct virtio_device *device, bool enable, bool function_mask) {
  u16 control = pci_read16(device->function, device->msix_capability + 2) & 0x7ff;
  pci_write16(device->function, device->msix_capability + 2, control | (enable ? 0x8000 : 0) | (function_mask ? 0x4000 : 0));
}

void msix_program(struct virtio_device *device, u32 entry, u8 vector, bool masked) {
  u64 at = device->msix_table + entry * 16;
  write32(at + 12, 1);
  write32(at, 0xfee00000 | lapic_id() << 12);
  write32(at + 4, 0);
  write32(at + 8, vector);
  if (!masked) write32(at + 12, 0);
}

void msix_mask(struct virtio_device *device, u32 entry, bool masked) {
  write32(device->msix_table + entry * 16 + 12, masked);
}

bool msix_pending(struct virtio_device *device, u32 entry) {
  return read64(device->msix_pba + entry / 64 * 8) >> (entry % 64) & 1;
}
