// virtio-pmem: memory of a file. Checks what the host put there, writes, flushes, lets a disk read and write it, and sends
// requests of every wrong shape. Parameters: size (that the device has to have), first (the first byte to be there),
// wait=ram (flush over and over from READY on, until there is a dword at guest address 4ff0, and look again).
#include "runtime/block.h"

#define GO_ON 0x4ff0
#define FLUSH 0
#define OK 0
#define EIO 1
#define UNANSWERED 0xa5a5a5a5

static struct virtio_device device;
static struct virtqueue queue;
static struct blk blk;
static u32 type, answer;

// Sends one request and returns the length of its used element.
static u32 send(const struct buffer *buffers, u32 readable, u32 writable) {
  answer = UNANSWERED;
  if (virtq_add(&queue, buffers, readable, writable) < 0) fail("no free descriptor");
  virtq_kick(&queue);
  u32 used = 0;
  if (virtq_wait(&queue, &used, 10000000000) < 0) fail("a request was not given back");
  return used;
}

static void flush(void) {
  struct buffer buffers[] = {{&type, 4}, {&answer, 4}};
  type = FLUSH;
  u32 used = send(buffers, 1, 1);
  expect(used == 4 && answer == OK, "a flush ends with %x and used length %u", answer, used);
}

static void malformed(void) {
  struct buffer good[] = {{&type, 4}, {&answer, 4}}, *bytes = (struct buffer[]){
    {&type, 4}, {&answer, 1}, {(u8 *)&answer + 1, 1}, {(u8 *)&answer + 2, 1}, {(u8 *)&answer + 3, 1}};
  type = 1;
  u32 used = send(good, 1, 1);
  expect(used == 4 && answer == EIO, "a request of type 1 ends with %x and used length %u", answer, used);
  type = FLUSH;
  expect(send(good, 2, 0) == 0, "a request without room for an answer");
  expect(send(good + 1, 0, 1) == 0 && answer == UNANSWERED, "an answer to no request");
  struct buffer short_answer[] = {{&type, 4}, {&answer, 3}}, short_request[] = {{&type, 3}, {&answer, 4}};
  expect(send(short_answer, 1, 1) == 0 && answer == UNANSWERED, "room of 3 bytes was written");
  expect(send(short_request, 1, 1) == 0 && answer == UNANSWERED, "a request of 3 bytes was answered");
  type = FLUSH;
  used = send(bytes, 1, 4);
  expect(used == 4 && answer == OK, "an answer in four parts: %x and used length %u", answer, used);
  struct buffer outside[] = {{&type, 4}, {(void *)0xfffffffff000, 4}};
  expect(send(outside, 1, 1) == 0, "an answer outside of memory");
}

static void many_at_once(void) {
  static u32 answers[128];
  for (u32 round = 0; round < 20; round++) {
    u32 pending = 0;
    for (u32 i = 0; i < 128; i++) {
      answers[i] = UNANSWERED;
      struct buffer buffers[] = {{&type, 4}, {&answers[i], 4}};
      if (virtq_add(&queue, buffers, 1, 1) < 0) break;
      pending++;
    }
    virtq_kick(&queue);
    for (u32 i = 0; i < pending; i++)
      if (virtq_wait(&queue, &(u32){0}, 10000000000) < 0) fail("flush %u of %u was not given back", i, pending);
    for (u32 i = 0; i < pending; i++) expect(answers[i] == OK, "flush %u of %u ends with %x", i, pending, answers[i]);
  }
}

// A reset while a flush is under way forgets it, and the device serves the next driver.
static void reset_during_flush(u64 start) {
  for (u32 i = 0; i < 50; i++) {
    write64(start + 8192, i);
    struct buffer buffers[] = {{&type, 4}, {&answer, 4}};
    virtq_add(&queue, buffers, 1, 1);
    virtq_kick(&queue);
    virtio_negotiate(&device, 0);
    virtio_queue_restart(&queue);
    virtio_driver_ok(&device);
  }
  flush();
}

// A disk reads into the memory and writes out of it.
static void disk_reaches(u64 memory) {
  static u8 sector[512];
  blk_open(&blk, 0, 0);
  for (u32 i = 0; i < 512; i++) sector[i] = i * 7;
  expect(blk_write(&blk, 1, sector, 512) == BLK_OK, "a write from RAM");
  expect(blk_read(&blk, 1, (void *)memory, 512) == BLK_OK, "a read into device memory");
  expect(memcmp((void *)memory, sector, 512) == 0, "what was read into device memory");
  for (u32 i = 0; i < 512; i++) write8(memory + i, i * 3);
  expect(blk_write(&blk, 2, (void *)memory, 512) == BLK_OK, "a write out of device memory");
  expect(blk_read(&blk, 2, sector, 512) == BLK_OK, "a read into RAM");
  expect(memcmp((void *)memory, sector, 512) == 0, "what was written out of device memory");
}

// A BAR may not be moved onto the memory.
static void bar_stays_off(u64 start) {
  struct pci_bar bar = pci_bar(device.function, 0);
  pci_set_bar(device.function, 0, start);
  u64 now = pci_bar(device.function, 0).address;
  expect(now == bar.address, "BAR 0 moved onto the memory: it is at %lx", now);
}

void payload(void) {
  if (!virtio_open(&device, VIRTIO_PMEM, 0)) fail("no pmem device");
  u64 start = read64(device.config), size = read64(device.config + 8);
  expect(size == param_number("size", 0), "size is %lx", size);
  expect(start % 0x200000 == 0, "start is %lx", start);
  map_range(start, size);
  virtio_negotiate(&device, 0);
  virtio_queue_init(&queue, &device, 0, 0);
  virtio_driver_ok(&device);
  bar_stays_off(start);
  expect(read8(start) == param_number("first", 0), "the first byte is %x", read8(start));
  flush();
  for (u64 at = 0; at < size; at += 4096) write64(start + at + 16, at ^ 0x706d656d);
  flush();
  for (u64 at = 0; at < size; at += 4096)
    if (read64(start + at + 16) != (at ^ 0x706d656d)) fail("%lx was not kept", at);
  if (pci_find(0x1af4, 0x1042, 0) != PCI_NONE) disk_reaches(start + 4096 + 1024);
  malformed();
  many_at_once();
  reset_during_flush(start);
  if (param_is("wait", "ram")) {
    print("READY\n");
    while (read32(GO_ON) == 0) flush();
    expect(read64(start + 16) == 0x706d656d, "what was written is gone");
    flush();
  }
  print("RESULT start=0x%lx size=%lu\n", start, size);
}
