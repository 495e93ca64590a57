import { Errno, SysError } from "../../host/errno.ts";
import { check, errno, libc } from "../../host/libc.ts";
import { MemoryBlock } from "../../host/memory-block.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import type { ViewOf } from "../../host/struct.ts";
import {
  type CpuidEntry,
  type GeneralRegisters,
  HypervisorError,
  type IoAccess,
  type IoSpace,
  type Msr,
  type Segment,
  type SpecialRegisters,
  type Vcpu,
  VcpuExit,
  type VcpuHandle,
  type VcpuState,
} from "../hypervisor.ts";
import {
  KVM_EXIT_IO_OUT,
  Kvm,
  KvmExit,
  KvmRunOffset,
  KvmSystemEvent,
  kvmCpuidEntry2,
  kvmFpu,
  kvmLapicState,
  kvmMsrEntry,
  kvmRegs,
  type kvmSegment,
  kvmSregs,
} from "./abi.ts";
import { describeFailure } from "./exit-failure.ts";
import { restoreVcpuState, saveVcpuState } from "./vcpu-state.ts";

const { io, mmio } = KvmRunOffset;
const LAPIC_LVT_LINT0 = 0x350;
const LAPIC_LVT_LINT1 = 0x360;
const APIC_BASE_EXTD = 1n << 10n;
const TABLE_HEADER = 8;

/** A vCPU of KVM, for the one thread that runs it. */
export class KvmVcpu implements Vcpu {
  readonly #fd: number;
  readonly #statsFd: number | undefined;
  readonly #run: MemoryBlock;
  /** One access at a time: the value travels in here between the run page and the device. */
  readonly #access: IoAccess = { offset: 0, size: 1, lo: 0, hi: 0 };
  eoiVector = 0;

  constructor(handle: VcpuHandle) {
    this.#fd = handle.fd;
    this.#statsFd = handle.statsFd;
    this.#run = new MemoryBlock(handle.runAddress, handle.runSize);
  }

  /** Makes the next or the current `run` of another thread's vCPU return; the thread must be kicked as well. */
  static setImmediateExit(handle: VcpuHandle, exit: boolean): void {
    new MemoryBlock(handle.runAddress, 8).u8[KvmRunOffset.immediate_exit] = exit ? 1 : 0;
  }

  run(ports: IoSpace, memory: IoSpace): VcpuExit {
    if (libc.ioctl(this.#fd, Kvm.RUN, 0) < 0) {
      const error = errno();
      if (error === Errno.EINTR || error === Errno.EAGAIN) return VcpuExit.INTERRUPTED;
      throw new HypervisorError("the vCPU cannot run", { cause: new SysError(error, "KVM_RUN") });
    }
    const { u32 } = this.#run;
    const reason = u32[KvmRunOffset.exit_reason / 4];
    switch (reason) {
      case KvmExit.IO:
        this.#servePort(ports);
        return VcpuExit.SERVED;
      case KvmExit.MMIO:
        this.#serveMmio(memory);
        return VcpuExit.SERVED;
      case KvmExit.INTR:
        return VcpuExit.INTERRUPTED;
      case KvmExit.HLT:
        return VcpuExit.HALTED;
      case KvmExit.SHUTDOWN:
        return VcpuExit.TRIPLE_FAULT;
      case KvmExit.IOAPIC_EOI:
        this.eoiVector = this.#run.u8[KvmRunOffset.eoi.vector] ?? 0;
        return VcpuExit.END_OF_INTERRUPT;
      case KvmExit.SYSTEM_EVENT:
        return u32[KvmRunOffset.system_event.type / 4] === KvmSystemEvent.SHUTDOWN
          ? VcpuExit.POWER_OFF
          : VcpuExit.RESET;
      default:
        throw new HypervisorError(describeFailure(this.#run));
    }
  }

  /** A port access: `count` of them for a string instruction, the data behind one another. */
  #servePort(ports: IoSpace): void {
    const { u8, u16, u32, view } = this.#run;
    const access = this.#access;
    const size = u8[io.size] ?? 1;
    const port = u16[io.port / 2] ?? 0;
    const count = u32[io.count / 4] ?? 1;
    let at = u32[io.data_offset / 4] ?? 0;
    const write = u8[io.direction] === KVM_EXIT_IO_OUT;
    for (let i = 0; i < count; i++, at += size) {
      access.size = size;
      if (write) {
        access.lo = size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
        access.hi = 0;
        ports.write(port, access);
      } else {
        ports.read(port, access);
        if (size === 1) view.setUint8(at, access.lo);
        else if (size === 2) view.setUint16(at, access.lo, true);
        else view.setUint32(at, access.lo, true);
      }
    }
  }

  #serveMmio(memory: IoSpace): void {
    const { u8, u32 } = this.#run;
    const access = this.#access;
    const address = (u32[mmio.phys_addr / 4] ?? 0) + (u32[mmio.phys_addr / 4 + 1] ?? 0) * 0x1_0000_0000;
    const size = u32[mmio.len / 4] ?? 4;
    access.size = size;
    if (u8[mmio.is_write] !== 0) {
      const lo = u32[mmio.data / 4] ?? 0;
      access.lo = size >= 4 ? lo : lo & (2 ** (8 * size) - 1);
      access.hi = size === 8 ? (u32[mmio.data / 4 + 1] ?? 0) : 0;
      memory.write(address, access);
    } else {
      memory.read(address, access);
      u32[mmio.data / 4] = access.lo;
      u32[mmio.data / 4 + 1] = access.hi;
    }
  }

  completeAccess(): void {
    this.#run.u8[KvmRunOffset.immediate_exit] = 1;
    const result = libc.ioctl(this.#fd, Kvm.RUN, 0);
    const error = result < 0 ? errno() : 0;
    this.#run.u8[KvmRunOffset.immediate_exit] = 0;
    if (error !== 0 && error !== Errno.EINTR && error !== Errno.EAGAIN)
      throw new HypervisorError("the vCPU cannot complete its last access", { cause: new SysError(error, "KVM_RUN") });
  }

  setCpuid(entries: readonly CpuidEntry[]): void {
    const block = mapAnonymous(TABLE_HEADER + entries.length * kvmCpuidEntry2.size);
    block.u32[0] = entries.length;
    entries.forEach((entry, i) => {
      Object.assign(kvmCpuidEntry2.at(block, TABLE_HEADER + i * kvmCpuidEntry2.size), entry);
    });
    this.#set(Kvm.SET_CPUID2, block, "KVM_SET_CPUID2");
  }

  setMsrs(msrs: readonly Msr[]): void {
    const block = mapAnonymous(TABLE_HEADER + msrs.length * kvmMsrEntry.size);
    block.u32[0] = msrs.length;
    msrs.forEach(({ index, data }, i) => {
      const entry = kvmMsrEntry.at(block, TABLE_HEADER + i * kvmMsrEntry.size);
      entry.index = index;
      entry.data = data;
    });
    const done = check(libc.ioctl(this.#fd, Kvm.SET_MSRS, block.address), "KVM_SET_MSRS");
    munmap(block.address, block.size);
    const refused = msrs[done];
    if (refused !== undefined)
      throw new HypervisorError(
        `KVM refuses to set MSR 0x${refused.index.toString(16)} to 0x${refused.data.toString(16)}`,
      );
  }

  setRegisters(registers: GeneralRegisters): void {
    const block = mapAnonymous(kvmRegs.size);
    const regs = kvmRegs.at(block);
    regs.rip = BigInt(registers.rip);
    regs.rflags = BigInt(registers.rflags);
    regs.rsp = BigInt(registers.rsp ?? 0);
    regs.rbx = BigInt(registers.rbx ?? 0);
    regs.rsi = BigInt(registers.rsi ?? 0);
    this.#set(Kvm.SET_REGS, block, "KVM_SET_REGS");
  }

  setSpecialRegisters({ code, data, task, gdt, idt, cr0, cr4, x2apic }: SpecialRegisters): void {
    const block = mapAnonymous(kvmSregs.size);
    check(libc.ioctl(this.#fd, Kvm.GET_SREGS, block.address), "KVM_GET_SREGS");
    const sregs = kvmSregs.at(block);
    setSegment(sregs.cs, code);
    for (const segment of [sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss]) setSegment(segment, data);
    setSegment(sregs.tr, task);
    Object.assign(sregs.gdt, gdt);
    Object.assign(sregs.idt, idt);
    sregs.cr0 = cr0;
    sregs.cr4 = cr4;
    if (x2apic) sregs.apic_base |= APIC_BASE_EXTD;
    this.#set(Kvm.SET_SREGS, block, "KVM_SET_SREGS");
  }

  setFpu(fcw: number, mxcsr: number): void {
    const block = mapAnonymous(kvmFpu.size);
    const fpu = kvmFpu.at(block);
    fpu.fcw = fcw;
    fpu.mxcsr = mxcsr;
    this.#set(Kvm.SET_FPU, block, "KVM_SET_FPU");
  }

  setLocalInterrupts(lint0DeliveryMode: number, lint1DeliveryMode: number): void {
    const block = mapAnonymous(kvmLapicState.size);
    check(libc.ioctl(this.#fd, Kvm.GET_LAPIC, block.address), "KVM_GET_LAPIC");
    for (const [register, mode] of [
      [LAPIC_LVT_LINT0, lint0DeliveryMode],
      [LAPIC_LVT_LINT1, lint1DeliveryMode],
    ] as const) {
      const lvt = block.view.getUint32(register, true);
      block.view.setUint32(register, (lvt & ~0x700) | (mode << 8), true);
    }
    this.#set(Kvm.SET_LAPIC, block, "KVM_SET_LAPIC");
  }

  /** A non-maskable interrupt, from any thread. @throws SysError */
  injectNmi(): void {
    check(libc.ioctl(this.#fd, Kvm.NMI, 0), "KVM_NMI");
  }

  saveState(): VcpuState {
    return saveVcpuState(this.#fd);
  }

  restoreState(state: VcpuState): void {
    restoreVcpuState(this.#fd, state);
  }

  close(): void {
    munmap(this.#run.address, this.#run.size);
    if (this.#statsFd !== undefined) libc.close(this.#statsFd);
    libc.close(this.#fd);
  }

  /** Hands a structure to KVM and gives its memory back. */
  #set(request: number, block: MemoryBlock, what: string): void {
    try {
      check(libc.ioctl(this.#fd, request, block.address), what);
    } finally {
      munmap(block.address, block.size);
    }
  }
}

function setSegment(target: ViewOf<typeof kvmSegment>, segment: Segment): void {
  Object.assign(target, segment);
}
