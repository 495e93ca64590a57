// The least a monitor can do: loads a PVH payload and serves KVM_RUN exits in a C loop. The payload measures what an exit
// costs; the difference to the same payload on a real monitor is that monitor's own work. Usage: cloop PAYLOAD CMDLINE
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RAM_BYTES = 64 << 20, START_INFO = 0x6000, MEMORY_MAP = 0x7000, COMMAND_LINE = 0x20000 };

struct start_info {
  uint32_t magic, version, flags, nr_modules;
  uint64_t modlist, cmdline, rsdp, memmap;
  uint32_t memmap_entries, reserved;
};

struct memory_map_entry {
  uint64_t address, size;
  uint32_t type, reserved;
};

static uint8_t *ram;

static int control(int fd, unsigned long request, const char *name, void *argument) {
  int result = ioctl(fd, request, argument);
  if (result < 0) err(1, "%s", name);
  return result;
}
#define CONTROL(fd, request, argument) control(fd, request, #request, (void *)(uintptr_t)(argument))

// Copies the segments into RAM and returns the address in the PVH note (the first descriptor of the PT_NOTE segment).
static uint32_t load(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) err(1, "%s", path);
  size_t size = status.st_size;
  const uint8_t *image = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (image == MAP_FAILED) err(1, "mmap %s", path);
  close(fd);
  const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
  if (size < sizeof *header || memcmp(image, ELFMAG, SELFMAG) != 0 ||
      header->e_phoff + header->e_phnum * sizeof(Elf64_Phdr) > size)
    errx(1, "%s is no ELF file", path);
  const Elf64_Phdr *segment = (const Elf64_Phdr *)(image + header->e_phoff);
  uint32_t entry = 0;
  for (int i = 0; i < header->e_phnum; i++) {
    if (segment[i].p_offset > size || segment[i].p_filesz > size - segment[i].p_offset) errx(1, "%s is cut off", path);
    if (segment[i].p_type == PT_NOTE && segment[i].p_filesz >= 20)
      memcpy(&entry, image + segment[i].p_offset + sizeof(Elf64_Nhdr) + 4, sizeof entry);
    if (segment[i].p_type != PT_LOAD) continue;
    if (segment[i].p_paddr > RAM_BYTES || segment[i].p_filesz > RAM_BYTES - segment[i].p_paddr)
      errx(1, "%s does not fit the RAM", path);
    memcpy(ram + segment[i].p_paddr, image + segment[i].p_offset, segment[i].p_filesz);
  }
  if (entry == 0) errx(1, "%s has no PVH note", path);
  return entry;
}

static void prepare_registers(int kvm, int vcpu, uint32_t entry) {
  struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + 256 * sizeof cpuid->entries[0]);
  if (!cpuid) err(1, "calloc");
  cpuid->nent = 256;
  CONTROL(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
  CONTROL(vcpu, KVM_SET_CPUID2, cpuid);
  struct kvm_sregs special;
  CONTROL(vcpu, KVM_GET_SREGS, &special);
  struct kvm_segment code = {.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
  struct kvm_segment data = {.limit = ~0u, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
  special.cr0 = 1;
  special.cs = code;
  special.ds = special.es = special.fs = special.gs = special.ss = data;
  CONTROL(vcpu, KVM_SET_SREGS, &special);
  struct kvm_regs registers = {.rip = entry, .rflags = 2, .rbx = START_INFO};
  CONTROL(vcpu, KVM_SET_REGS, &registers);
}

int main(int count, char **arguments) {
  if (count != 3) errx(1, "usage: cloop PAYLOAD CMDLINE");
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) err(1, "/dev/kvm");
  int vm = CONTROL(kvm, KVM_CREATE_VM, 0);
  CONTROL(vm, KVM_SET_TSS_ADDR, 0xf8000000);
  struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
  CONTROL(vm, KVM_ENABLE_CAP, &split);
  ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (ram == MAP_FAILED) err(1, "mmap guest RAM");
  struct kvm_userspace_memory_region region = {.memory_size = RAM_BYTES, .userspace_addr = (uintptr_t)ram};
  CONTROL(vm, KVM_SET_USER_MEMORY_REGION, &region);

  uint32_t entry = load(arguments[1]);
  if (strlen(arguments[2]) >= 4096) errx(1, "the command line is too long");
  strcpy((char *)ram + COMMAND_LINE, arguments[2]);
  *(struct memory_map_entry *)(ram + MEMORY_MAP) = (struct memory_map_entry){.size = RAM_BYTES, .type = 1};
  *(struct start_info *)(ram + START_INFO) = (struct start_info){
      .magic = 0x336ec578, .version = 1, .cmdline = COMMAND_LINE, .memmap = MEMORY_MAP, .memmap_entries = 1};

  int vcpu = CONTROL(vm, KVM_CREATE_VCPU, 0);
  int run_bytes = CONTROL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  volatile struct kvm_run *run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (run == MAP_FAILED) err(1, "mmap kvm_run");
  prepare_registers(kvm, vcpu, entry);

  static uint8_t scratch[65536];
  for (;;) {
    if (ioctl(vcpu, KVM_RUN, 0) < 0) err(1, "KVM_RUN");
    if (run->exit_reason != KVM_EXIT_IO) errx(1, "unexpected exit %u", run->exit_reason);
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    uint16_t port = run->io.port;
    if (run->io.direction == KVM_EXIT_IO_IN) {
      memset(data, scratch[port], (size_t)run->io.size * run->io.count);
    } else {
      scratch[port] = *data;
      if (port == 0x3f8) putchar(*data);
      if (port == 0x600 && *data == 0x34) return 0;
    }
  }
}
