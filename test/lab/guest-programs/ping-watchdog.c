// Drives a virtio watchdog from user space in a Linux guest, whose kernel has no driver for it.
// Usage: ping-watchdog COUNT SECONDS: COUNT buffers, SECONDS apart; the device stays armed when the program ends.
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"
#define BAR_BYTES 0x80000
#define NOTIFY 0x6000
#define QUEUE_SIZE 8

// Offsets in one page: descriptors, available ring, used ring, buffer.
enum { DESC = 0, AVAIL = 0x400, USED = 0x800, BUFFER = 0xc00 };

static int open_in(const char *device, const char *file, int flags) {
  char path[512];
  snprintf(path, sizeof path, DEVICES "/%s/%s", device, file);
  int fd = open(path, flags);
  if (fd < 0) err(1, "%s", path);
  return fd;
}

static int id_of(const char *device, const char *file) {
  char text[16] = "";
  int fd = open_in(device, file, O_RDONLY);
  if (read(fd, text, sizeof text - 1) < 0) err(1, "read %s of %s", file, device);
  close(fd);
  return strtol(text, NULL, 16);
}

// Linux drives the transport of every virtio device, whether it knows the device or not.
static void take_from_kernel(const char *device) {
  char path[512];
  snprintf(path, sizeof path, DEVICES "/%s/driver/unbind", device);
  int fd = open(path, O_WRONLY);
  if (fd < 0) return;
  if (write(fd, device, strlen(device)) < 0) err(1, "unbind the device");
  close(fd);
}

static volatile uint8_t *map_bar(void) {
  DIR *devices = opendir(DEVICES);
  if (!devices) err(1, DEVICES);
  for (struct dirent *entry; (entry = readdir(devices));) {
    if (entry->d_name[0] == '.' || id_of(entry->d_name, "vendor") != 0x1af4 || id_of(entry->d_name, "device") != 0x1063)
      continue;
    take_from_kernel(entry->d_name);
    int enable = open_in(entry->d_name, "enable", O_WRONLY);
    if (write(enable, "1", 1) != 1) err(1, "enable the device");
    int fd = open_in(entry->d_name, "resource0", O_RDWR);
    void *bar = mmap(NULL, BAR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bar == MAP_FAILED) err(1, "map BAR 0");
    return bar;
  }
  errx(1, "there is no virtio watchdog");
}

// The guest physical address of a locked page.
static uint64_t physical(void *page) {
  uint64_t entry;
  int fd = open("/proc/self/pagemap", O_RDONLY);
  if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)page / 4096 * 8) != 8) err(1, "pagemap");
  close(fd);
  return (entry & ((1ull << 55) - 1)) * 4096;
}

int main(int argc, char **argv) {
  if (argc != 3) errx(2, "usage: %s COUNT SECONDS", argv[0]);
  volatile uint8_t *bar = map_bar();
  uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
  if (page == MAP_FAILED) err(1, "a page");
  memset(page, 0, 4096);
  uint64_t base = physical(page);

  volatile uint8_t *status = bar + 0x14;
  *status = 0;
  while (*status) usleep(1000);
  *status = 1;
  *status = 3;
  *(volatile uint32_t *)(bar + 0x08) = 1;  // VERSION_1, bit 32
  *(volatile uint32_t *)(bar + 0x0c) = 1;
  *status = 11;
  *(volatile uint16_t *)(bar + 0x16) = 0;
  *(volatile uint16_t *)(bar + 0x18) = QUEUE_SIZE;
  static const uint32_t areas[][2] = {{0x20, DESC}, {0x28, AVAIL}, {0x30, USED}};
  for (int i = 0; i < 3; i++) {
    *(volatile uint32_t *)(bar + areas[i][0]) = base + areas[i][1];
    *(volatile uint32_t *)(bar + areas[i][0] + 4) = (base + areas[i][1]) >> 32;
  }
  *(volatile uint16_t *)(bar + 0x1c) = 1;
  *status = 15;

  *(volatile uint64_t *)(page + DESC) = base + BUFFER;
  *(volatile uint32_t *)(page + DESC + 8) = 8;
  *(volatile uint16_t *)(page + DESC + 12) = 2;  // for the device to write
  volatile uint16_t *avail_index = (void *)(page + AVAIL + 2), *used_index = (void *)(page + USED + 2);
  int count = atoi(argv[1]);
  for (int i = 1; i <= count; i++) {
    page[BUFFER] = 0;
    __atomic_store_n(avail_index, i, __ATOMIC_SEQ_CST);
    *(volatile uint16_t *)(bar + NOTIFY) = 0;
    for (int waited = 0; __atomic_load_n(used_index, __ATOMIC_SEQ_CST) != i; waited++) {
      if (waited == 10000) errx(1, "ping %d was not answered: status %x", i, *status);
      usleep(1000);
    }
    if (page[BUFFER] != 1) errx(1, "ping %d was answered with %d", i, page[BUFFER]);
    if (i < count) sleep(atoi(argv[2]));
  }
  printf("%d pings\n", count);
  return 0;
}
