import { _IO, _IOR, _IOW, _IOWR } from "../../host/ioctl.ts";
import { bytes, i32, nested, struct, u8, u16, u32, u64, u64n } from "../../host/struct.ts";

/** The KVM ABI as linux/kvm.h and the x86 asm/kvm.h define it: structures, requests, capabilities, exit reasons. */

export const kvmUserspaceMemoryRegion = struct("kvm_userspace_memory_region", {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});

export const kvmEnableCap = struct("kvm_enable_cap", { cap: u32, flags: u32, arg0: u64n, pad: bytes(88) });

export const kvmIrqfd = struct("kvm_irqfd", { fd: u32, gsi: u32, flags: u32, resamplefd: u32, pad: bytes(16) });

export const kvmIoeventfd = struct("kvm_ioeventfd", {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: i32,
  flags: u32,
  pad: bytes(36),
});

/** An entry of kvm_irq_routing whose union holds an MSI route. */
export const kvmIrqRoutingEntry = struct("kvm_irq_routing_entry", {
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  address_lo: u32,
  address_hi: u32,
  data: u32,
  devid: u32,
  union_rest: bytes(16),
});

export const kvmCpuidEntry2 = struct("kvm_cpuid_entry2", {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: bytes(12),
});

export const kvmMsrEntry = struct("kvm_msr_entry", { index: u32, reserved: u32, data: u64n });

export const kvmRegs = struct("kvm_regs", {
  rax: u64n,
  rbx: u64n,
  rcx: u64n,
  rdx: u64n,
  rsi: u64n,
  rdi: u64n,
  rsp: u64n,
  rbp: u64n,
  r8: u64n,
  r9: u64n,
  r10: u64n,
  r11: u64n,
  r12: u64n,
  r13: u64n,
  r14: u64n,
  r15: u64n,
  rip: u64n,
  rflags: u64n,
});

export const kvmSegment = struct("kvm_segment", {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

export const kvmDtable = struct("kvm_dtable", { base: u64, limit: u16, padding: bytes(6) });

export const kvmSregs = struct("kvm_sregs", {
  cs: nested(kvmSegment),
  ds: nested(kvmSegment),
  es: nested(kvmSegment),
  fs: nested(kvmSegment),
  gs: nested(kvmSegment),
  ss: nested(kvmSegment),
  tr: nested(kvmSegment),
  ldt: nested(kvmSegment),
  gdt: nested(kvmDtable),
  idt: nested(kvmDtable),
  cr0: u64n,
  cr2: u64n,
  cr3: u64n,
  cr4: u64n,
  cr8: u64n,
  efer: u64n,
  apic_base: u64n,
  interrupt_bitmap: bytes(32),
});

export const kvmFpu = struct("kvm_fpu", {
  fpr: bytes(128),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  pad1: u8,
  last_opcode: u16,
  last_ip: u64n,
  last_dp: u64n,
  xmm: bytes(256),
  mxcsr: u32,
  pad2: u32,
});

export const kvmLapicState = struct("kvm_lapic_state", { regs: bytes(1024) });

/** struct kvm_run's head, up to its union of exit data. */
export const kvmRun = struct("kvm_run", {
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: bytes(6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
});

/** Offsets inside struct kvm_run of what the exits that are handled carry. */
export const KvmRunOffset = {
  immediate_exit: 1,
  exit_reason: 8,
  io: { direction: 32, size: 33, port: 34, count: 36, data_offset: 40 },
  mmio: { phys_addr: 32, data: 40, len: 48, is_write: 52 },
  system_event: { type: 32 },
  internal: { suberror: 32, ndata: 36, data: 40 },
  fail_entry: { hardware_entry_failure_reason: 32, cpu: 40 },
  eoi: { vector: 32 },
} as const;

const KVMIO = 0xae;

export const Kvm = {
  GET_API_VERSION: _IO(KVMIO, 0x00),
  CREATE_VM: _IO(KVMIO, 0x01),
  CHECK_EXTENSION: _IO(KVMIO, 0x03),
  GET_VCPU_MMAP_SIZE: _IO(KVMIO, 0x04),
  GET_SUPPORTED_CPUID: _IOWR(KVMIO, 0x05, 8),
  CREATE_VCPU: _IO(KVMIO, 0x41),
  SET_USER_MEMORY_REGION: _IOW(KVMIO, 0x46, kvmUserspaceMemoryRegion.size),
  SET_TSS_ADDR: _IO(KVMIO, 0x47),
  SET_IDENTITY_MAP_ADDR: _IOW(KVMIO, 0x48, 8),
  SET_GSI_ROUTING: _IOW(KVMIO, 0x6a, 8),
  IRQFD: _IOW(KVMIO, 0x76, kvmIrqfd.size),
  IOEVENTFD: _IOW(KVMIO, 0x79, kvmIoeventfd.size),
  RUN: _IO(KVMIO, 0x80),
  GET_REGS: _IOR(KVMIO, 0x81, kvmRegs.size),
  SET_REGS: _IOW(KVMIO, 0x82, kvmRegs.size),
  GET_SREGS: _IOR(KVMIO, 0x83, kvmSregs.size),
  SET_SREGS: _IOW(KVMIO, 0x84, kvmSregs.size),
  GET_MSRS: _IOWR(KVMIO, 0x88, 8),
  SET_MSRS: _IOW(KVMIO, 0x89, 8),
  SET_FPU: _IOW(KVMIO, 0x8d, kvmFpu.size),
  GET_LAPIC: _IOR(KVMIO, 0x8e, kvmLapicState.size),
  SET_LAPIC: _IOW(KVMIO, 0x8f, kvmLapicState.size),
  SET_CPUID2: _IOW(KVMIO, 0x90, 8),
  GET_MP_STATE: _IOR(KVMIO, 0x98, 4),
  SET_MP_STATE: _IOW(KVMIO, 0x99, 4),
  NMI: _IO(KVMIO, 0x9a),
  GET_VCPU_EVENTS: _IOR(KVMIO, 0x9f, 64),
  SET_VCPU_EVENTS: _IOW(KVMIO, 0xa0, 64),
  GET_TSC_KHZ: _IO(KVMIO, 0xa3),
  ENABLE_CAP: _IOW(KVMIO, 0xa3, kvmEnableCap.size),
  GET_XSAVE: _IOR(KVMIO, 0xa4, 4096),
  SET_XSAVE: _IOW(KVMIO, 0xa5, 4096),
  GET_XCRS: _IOR(KVMIO, 0xa6, 392),
  SET_XCRS: _IOW(KVMIO, 0xa7, 392),
  GET_STATS_FD: _IO(KVMIO, 0xce),
} as const;

export const KVM_API_VERSION = 12;
export const KVM_MEM_READONLY = 1 << 1;
export const KVM_IRQ_ROUTING_MSI = 2;
export const KVM_IRQFD_FLAG_DEASSIGN = 1;
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 1 << 2;
export const KVM_EXIT_IO_OUT = 1;

export const KvmCap = {
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  USER_NMI: 22,
  IRQ_ROUTING: 25,
  IRQFD: 32,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  VCPU_EVENTS: 41,
  XSAVE: 55,
  XCRS: 56,
  GET_TSC_KHZ: 61,
  MAX_VCPUS: 66,
  TSC_DEADLINE_TIMER: 72,
  SPLIT_IRQCHIP: 121,
  IOEVENTFD_ANY_LENGTH: 122,
  HYPERV_SYNIC: 123,
  MAX_VCPU_ID: 128,
  X2APIC_API: 129,
  IMMEDIATE_EXIT: 136,
} as const;

export const KvmExit = {
  UNKNOWN: 0,
  IO: 2,
  HLT: 5,
  MMIO: 6,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
} as const;

export const KvmSystemEvent = { SHUTDOWN: 1, RESET: 2, CRASH: 3 } as const;

/** KVM_CAP_X2APIC_API arguments. */
export const KVM_X2APIC_API_USE_32BIT_IDS = 1n << 0n;
export const KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK = 1n << 1n;
