import { check, libc } from "../../host/libc.ts";
import { MapFlag, mapForThread, mmap, Prot } from "../../host/mmap.ts";
import { HypervisorError, type VcpuHandle } from "../hypervisor.ts";
import {
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_IRQFD_FLAG_DEASSIGN,
  KVM_MEM_READONLY,
  KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
  KVM_X2APIC_API_USE_32BIT_IDS,
  Kvm,
  KvmCap,
  kvmEnableCap,
  kvmIoeventfd,
  kvmIrqfd,
  kvmUserspaceMemoryRegion,
} from "./abi.ts";

/** The thread's memory for one request's structure. */
const argument = mapForThread(128);

/** A VM by its descriptor. Every thread makes its own over the same descriptor. */
export class KvmVm {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * Local APICs in the kernel, everything else in user space.
   * @param pins GSIs kept for the IOAPIC in user space
   * @throws SysError
   */
  enableSplitIrqchip(pins: number): void {
    this.#enable(KvmCap.SPLIT_IRQCHIP, BigInt(pins), "KVM_CAP_SPLIT_IRQCHIP");
  }

  /** APIC ids above 254 in interrupt messages. @throws SysError */
  enableX2apicIds(): void {
    this.#enable(
      KvmCap.X2APIC_API,
      KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
      "KVM_CAP_X2APIC_API",
    );
  }

  /** Where KVM may put its task state segment (three pages) and its identity map (one page). @throws SysError */
  setTssAndIdentityMap(tss: number, identityMap: number): void {
    argument.view.setBigUint64(0, BigInt(identityMap), true);
    check(libc.ioctl(this.fd, Kvm.SET_IDENTITY_MAP_ADDR, argument.address), "KVM_SET_IDENTITY_MAP_ADDR");
    check(libc.ioctl(this.fd, Kvm.SET_TSS_ADDR, tss), "KVM_SET_TSS_ADDR");
  }

  /** Gives the guest memory at `gpa`; size 0 takes the slot away. @throws SysError */
  setMemoryRegion(slot: number, gpa: number, size: number, hva: number, readOnly = false): void {
    const region = kvmUserspaceMemoryRegion.at(argument);
    region.slot = slot;
    region.flags = readOnly ? KVM_MEM_READONLY : 0;
    region.guest_phys_addr = gpa;
    region.memory_size = size;
    region.userspace_addr = hva;
    check(
      libc.ioctl(this.fd, Kvm.SET_USER_MEMORY_REGION, argument.address),
      `give the guest ${size} bytes of memory at 0x${gpa.toString(16)} (KVM_SET_USER_MEMORY_REGION)`,
    );
  }

  /** Makes `eventFd` raise `gsi`. @throws SysError */
  assignIrqfd(eventFd: number, gsi: number): void {
    this.#irqfd(eventFd, gsi, 0);
  }

  /** @throws SysError */
  deassignIrqfd(eventFd: number, gsi: number): void {
    this.#irqfd(eventFd, gsi, KVM_IRQFD_FLAG_DEASSIGN);
  }

  /** Makes any write at `gpa` signal `eventFd` instead of exiting. @throws SysError */
  assignIoEventFd(gpa: number, eventFd: number): void {
    this.#ioeventfd(gpa, eventFd, 0);
  }

  /** @throws SysError */
  deassignIoEventFd(gpa: number, eventFd: number): void {
    this.#ioeventfd(gpa, eventFd, KVM_IOEVENTFD_FLAG_DEASSIGN);
  }

  /**
   * A new vCPU.
   * @param id its APIC id
   * @param runSize bytes of the run page (`KvmSystem.runSize`)
   * @throws SysError, HypervisorError
   */
  createVcpu(id: number, runSize: number): VcpuHandle {
    const fd = libc.ioctl(this.fd, Kvm.CREATE_VCPU, id);
    check(fd, `create the vCPU with APIC id ${id} (KVM_CREATE_VCPU)`);
    try {
      const runAddress = mmap({ size: runSize, prot: Prot.READ | Prot.WRITE, flags: MapFlag.SHARED, fd });
      // Not later: KVM makes who asks wait while the vCPU runs.
      const statsFd = libc.ioctl(fd, Kvm.GET_STATS_FD, 0);
      return { fd, runAddress, runSize, statsFd: statsFd < 0 ? undefined : statsFd };
    } catch (cause) {
      libc.close(fd);
      throw new HypervisorError(`cannot map the run page of the vCPU with APIC id ${id}`, { cause });
    }
  }

  /** The guest's TSC frequency in kHz, 0 when KVM does not say. */
  tscKhz(vcpuFd: number): number {
    return Math.max(0, libc.ioctl(vcpuFd, Kvm.GET_TSC_KHZ, 0));
  }

  close(): void {
    libc.close(this.fd);
  }

  #enable(capability: number, arg0: bigint, name: string): void {
    argument.u8.fill(0, 0, kvmEnableCap.size);
    const request = kvmEnableCap.at(argument);
    request.cap = capability;
    request.arg0 = arg0;
    check(libc.ioctl(this.fd, Kvm.ENABLE_CAP, argument.address), `enable ${name}`);
  }

  #irqfd(eventFd: number, gsi: number, flags: number): void {
    argument.u8.fill(0, 0, kvmIrqfd.size);
    const request = kvmIrqfd.at(argument);
    request.fd = eventFd;
    request.gsi = gsi;
    request.flags = flags;
    check(libc.ioctl(this.fd, Kvm.IRQFD, argument.address), `KVM_IRQFD for GSI ${gsi}`);
  }

  #ioeventfd(gpa: number, eventFd: number, flags: number): void {
    argument.u8.fill(0, 0, kvmIoeventfd.size);
    const request = kvmIoeventfd.at(argument);
    request.addr = gpa;
    request.fd = eventFd;
    request.flags = flags;
    check(libc.ioctl(this.fd, Kvm.IOEVENTFD, argument.address), `KVM_IOEVENTFD at 0x${gpa.toString(16)}`);
  }
}
