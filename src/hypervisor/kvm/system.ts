import { Errno, SysError } from "../../host/errno.ts";
import { check, errno, libc } from "../../host/libc.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { cString } from "../../host/scratch.ts";
import { type CpuidEntry, HypervisorError } from "../hypervisor.ts";
import { KVM_API_VERSION, Kvm, KvmCap, kvmCpuidEntry2 } from "./abi.ts";

const O_RDWR_CLOEXEC = 0o2000002;
/** More leaves than any processor has; KVM says E2BIG when it is not enough. */
const MAX_CPUID_ENTRIES = 256;
const CPUID_HEADER = 8;

/** What the machine cannot do without, and how to call it in a message. */
const REQUIRED: readonly (readonly [number, string])[] = [
  [KvmCap.USER_MEMORY, "KVM_CAP_USER_MEMORY"],
  [KvmCap.SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"],
  [KvmCap.SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"],
  [KvmCap.EXT_CPUID, "KVM_CAP_EXT_CPUID"],
  [KvmCap.SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"],
  [KvmCap.TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER"],
  [KvmCap.IRQFD, "KVM_CAP_IRQFD"],
  [KvmCap.IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"],
  [KvmCap.IOEVENTFD, "KVM_CAP_IOEVENTFD"],
  [KvmCap.IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH"],
  [KvmCap.MP_STATE, "KVM_CAP_MP_STATE"],
  [KvmCap.VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"],
  [KvmCap.XSAVE, "KVM_CAP_XSAVE"],
  [KvmCap.USER_NMI, "KVM_CAP_USER_NMI"],
  [KvmCap.IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"],
];

const ADVICE = new Map<number, string>([
  [
    Errno.ENOENT,
    "load the kvm_intel or kvm_amd module, or enable virtualization in the firmware or the outer hypervisor",
  ],
  [
    Errno.ENODEV,
    "load the kvm_intel or kvm_amd module, or enable virtualization in the firmware or the outer hypervisor",
  ],
  [Errno.EACCES, "add the user to the group that owns it (usually kvm), or run with the right to open it"],
  [Errno.EPERM, "add the user to the group that owns it (usually kvm), or run with the right to open it"],
]);

/** /dev/kvm: what it can do, and new VMs. For the main thread. */
export class KvmSystem {
  readonly #fd: number;
  /** Bytes of each vCPU's run page. */
  readonly runSize: number;

  /**
   * @throws HypervisorError saying what is missing and what to do
   */
  constructor(path = "/dev/kvm") {
    const fd = libc.open(cString(path), O_RDWR_CLOEXEC, 0);
    if (fd < 0) {
      const cause = new SysError(errno(), `open ${path}`);
      const advice = ADVICE.get(cause.errno);
      throw new HypervisorError(`cannot use KVM${advice === undefined ? "" : `: ${advice}`}`, { cause });
    }
    this.#fd = fd;
    const version = libc.ioctl(fd, Kvm.GET_API_VERSION, 0);
    if (version < 0) {
      const cause = new SysError(errno(), "KVM_GET_API_VERSION");
      libc.close(fd);
      throw new HypervisorError(`${path} is not KVM: it must be the character device of the kvm module`, { cause });
    }
    if (version !== KVM_API_VERSION) {
      libc.close(fd);
      throw new HypervisorError(
        `KVM has API version ${version} where ${KVM_API_VERSION} is needed: use a supported host kernel`,
      );
    }
    const missing = REQUIRED.filter(([capability]) => this.capability(capability) <= 0).map(([, name]) => name);
    if (missing.length > 0) {
      libc.close(fd);
      throw new HypervisorError(`this kernel's KVM lacks ${missing.join(", ")}: a newer host kernel is needed`);
    }
    this.runSize = check(libc.ioctl(fd, Kvm.GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  }

  /** KVM_CHECK_EXTENSION: 0 when absent, else 1 or the capability's number. */
  capability(capability: number): number {
    return libc.ioctl(this.#fd, Kvm.CHECK_EXTENSION, capability);
  }

  /** The most vCPUs a VM can have. */
  get maxVcpus(): number {
    return this.capability(KvmCap.MAX_VCPUS);
  }

  /** The CPUID leaves that KVM can give a guest here. @throws SysError */
  supportedCpuid(): CpuidEntry[] {
    const size = CPUID_HEADER + MAX_CPUID_ENTRIES * kvmCpuidEntry2.size;
    const block = mapAnonymous(size);
    block.u32[0] = MAX_CPUID_ENTRIES;
    check(libc.ioctl(this.#fd, Kvm.GET_SUPPORTED_CPUID, block.address), "KVM_GET_SUPPORTED_CPUID");
    const count = block.u32[0] ?? 0;
    const entries = Array.from({ length: count }, (_, i) => {
      const entry = kvmCpuidEntry2.at(block, CPUID_HEADER + i * kvmCpuidEntry2.size);
      const { function: leaf, index, flags, eax, ebx, ecx, edx } = entry;
      return { function: leaf, index, flags, eax, ebx, ecx, edx };
    });
    munmap(block.address, block.size);
    return entries;
  }

  /** A new VM without memory, interrupt controller or vCPUs. @returns its descriptor. @throws SysError */
  createVm(): number {
    for (;;) {
      const fd = libc.ioctl(this.#fd, Kvm.CREATE_VM, 0);
      if (fd >= 0) return fd;
      if (errno() !== Errno.EINTR) throw new SysError(errno(), "KVM_CREATE_VM");
    }
  }

  close(): void {
    libc.close(this.#fd);
  }
}
