// A driver for virtio devices on modern virtio-pci with split queues (VIRTIO 1.2: 2.7, 4.1).
#pragma once
#include "pci.h"

enum {
  VIRTIO_NET = 1,
  VIRTIO_BLOCK = 2,
  VIRTIO_CONSOLE = 3,
  VIRTIO_RNG = 4,
  VIRTIO_BALLOON = 5,
  VIRTIO_RTC = 17,
  VIRTIO_VSOCK = 19,
  VIRTIO_PMEM = 27,
  VIRTIO_WATCHDOG = 35,
};
enum {
  STATUS_ACKNOWLEDGE = 1,
  STATUS_DRIVER = 2,
  STATUS_DRIVER_OK = 4,
  STATUS_FEATURES_OK = 8,
  STATUS_NEEDS_RESET = 0x40,
};
#define FEATURE_INDIRECT_DESC (1ull << 28)
#define FEATURE_EVENT_IDX (1ull << 29)
#define FEATURE_VERSION_1 (1ull << 32)
#define NO_VECTOR 0xffff

// Common configuration (4.1.4.3).
enum {
  COMMON_DEVICE_FEATURE_SELECT = 0x00,
  COMMON_DEVICE_FEATURE = 0x04,
  COMMON_DRIVER_FEATURE_SELECT = 0x08,
  COMMON_DRIVER_FEATURE = 0x0c,
  COMMON_CONFIG_VECTOR = 0x10,
  COMMON_NUM_QUEUES = 0x12,
  COMMON_STATUS = 0x14,
  COMMON_GENERATION = 0x15,
  COMMON_QUEUE_SELECT = 0x16,
  COMMON_QUEUE_SIZE = 0x18,
  COMMON_QUEUE_VECTOR = 0x1a,
  COMMON_QUEUE_ENABLE = 0x1c,
  COMMON_QUEUE_NOTIFY_OFF = 0x1e,
  COMMON_QUEUE_DESC = 0x20,
  COMMON_QUEUE_DRIVER = 0x28,
  COMMON_QUEUE_DEVICE = 0x30,
};

struct virtio_device {
  pci_function function;
  // Addresses of the structures in the BARs; config is 0 when the device has none.
  u64 common, notify, isr, config;
  u32 notify_multiplier;
  u32 config_window;  // offset of the PCI configuration access capability
  u32 msix_capability, msix_entries;
  u64 msix_table, msix_pba;
  u64 features;  // negotiated
};

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
struct descriptor {
  volatile u64 address;
  volatile u32 length;
  volatile u16 flags, next;
};
struct used_element {
  volatile u32 id, length;
};

struct virtqueue {
  struct virtio_device *device;
  u16 index, size;
  bool event_idx;
  struct descriptor *desc;
  volatile u16 *avail;  // flags, idx, ring[size], used_event
  volatile u16 *used;   // flags, idx, struct used_element ring[size], avail_event
  u64 notify;
  u16 next_avail;  // published and unpublished entries
  u16 published;   // avail.idx as last written
  u16 last_used;
  u16 free_head, free_count;
};

struct buffer {
  void *address;
  u32 length;
};

// Finds the `nth` device of a type, switches memory decoding and bus mastering on and maps its structures.
bool virtio_open(struct virtio_device *device, u16 type, u32 nth);
void virtio_reset(struct virtio_device *device);
u8 virtio_status(struct virtio_device *device);
void virtio_set_status(struct virtio_device *device, u8 status);
u64 virtio_offered(struct virtio_device *device);
// Reset, ACKNOWLEDGE, DRIVER, features offered & wanted (VERSION_1 always), FEATURES_OK.
void virtio_negotiate(struct virtio_device *device, u64 wanted);
// Largest size the device takes for the queue; 0: no such queue.
u16 virtio_queue_max(struct virtio_device *device, u16 index);
// Allocates the rings of a queue (size 0: the device's maximum), programs and enables it.
void virtio_queue_init(struct virtqueue *queue, struct virtio_device *device, u16 index, u16 size);
// Programs and enables a queue whose rings exist already, from where the indices stand in the rings (0 after reset).
void virtio_queue_program(struct virtqueue *queue);
// Forgets everything in the rings and programs the queue again (after a device reset).
void virtio_queue_restart(struct virtqueue *queue);
void virtio_driver_ok(struct virtio_device *device);

// Puts a chain into the available ring without publishing it; returns the head, or -1 when descriptors are short.
int virtq_add(struct virtqueue *queue, const struct buffer *buffers, u32 readable, u32 writable);
// The same through a table of readable + writable descriptors that the caller keeps until the chain comes back.
int virtq_add_indirect(struct virtqueue *queue, struct descriptor *table, const struct buffer *buffers, u32 readable,
                       u32 writable);
// Puts a head into the available ring as it is.
void virtq_push(struct virtqueue *queue, u16 head);
// Makes all added chains visible and notifies if the device asks for it; returns whether it did.
bool virtq_kick(struct virtqueue *queue);
void virtq_notify(struct virtqueue *queue);
// One used element: returns the head and frees its chain, or -1 when there is none.
int virtq_poll(struct virtqueue *queue, u32 *length);
// Polls for up to `ns`; -1 when the time is over.
int virtq_wait(struct virtqueue *queue, u32 *length, u64 ns);

void msix_enable(struct virtio_device *device, bool enable, bool function_mask);
// Programs an entry for a vector of this processor.
void msix_program(struct virtio_device *device, u32 entry, u8 vector, bool masked);
void msix_mask(struct virtio_device *device, u32 entry, bool masked);
bool msix_pending(struct virtio_device *device, u32 entry);
