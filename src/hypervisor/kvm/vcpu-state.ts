import { check, libc } from "../../host/libc.ts";
import type { MemoryBlock } from "../../host/memory-block.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { HypervisorError, type VcpuState } from "../hypervisor.ts";
import { Kvm, kvmLapicState, kvmMsrEntry, kvmRegs, kvmSregs } from "./abi.ts";

interface Part {
  readonly name: string;
  readonly get: number;
  readonly set: number;
  readonly size: number;
}

const MP_STATE: Part = { name: "mp_state", get: Kvm.GET_MP_STATE, set: Kvm.SET_MP_STATE, size: 4 };
const REGS: Part = { name: "regs", get: Kvm.GET_REGS, set: Kvm.SET_REGS, size: kvmRegs.size };
const SREGS: Part = { name: "sregs", get: Kvm.GET_SREGS, set: Kvm.SET_SREGS, size: kvmSregs.size };
const XSAVE: Part = { name: "xsave", get: Kvm.GET_XSAVE, set: Kvm.SET_XSAVE, size: 4096 };
const XCRS: Part = { name: "xcrs", get: Kvm.GET_XCRS, set: Kvm.SET_XCRS, size: 392 };
const LAPIC: Part = { name: "lapic", get: Kvm.GET_LAPIC, set: Kvm.SET_LAPIC, size: kvmLapicState.size };
const EVENTS: Part = { name: "vcpu_events", get: Kvm.GET_VCPU_EVENTS, set: Kvm.SET_VCPU_EVENTS, size: 64 };

/** MP state first: reading it makes KVM process pending INIT and SIPI, which change the other parts. */
const SAVE_ORDER = [MP_STATE, REGS, SREGS, XSAVE, XCRS, LAPIC, EVENTS];
/**
 * The special registers carry the APIC base, which the local APIC's registers depend on; events come last, since setting
 * registers drops a pending exception.
 */
const RESTORE_ORDER = [MP_STATE, REGS, SREGS, XSAVE, XCRS, LAPIC, EVENTS];
const MSRS = "msrs";

/** KVM writes at most this many bytes for any part. */
const BUFFER_BYTES = 8192;
/** Registers per KVM_GET_MSRS request: what fits the buffer. */
const MSR_BATCH = Math.floor((BUFFER_BYTES - 8) / kvmMsrEntry.size);

/**
 * What system calls, timekeeping and paravirtual clocks of a 64-bit guest live in (Intel SDM vol. 4, KVM's msr.rst).
 * A register that this host or guest does not have is left out of the saved state.
 */
const SAVED_MSRS: readonly number[] = [
  0x10, 0x3b, 0x174, 0x175, 0x176, 0x1a0, 0x277, 0x2ff, 0x6e0, 0xda0, 0xc000_0081, 0xc000_0082, 0xc000_0083,
  0xc000_0084, 0xc000_0102, 0xc000_0103, 0x4b56_4d00, 0x4b56_4d01, 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04,
];

/** Copies a vCPU's whole state out of KVM. The vCPU must not be running. @throws SysError */
export function saveVcpuState(fd: number): VcpuState {
  const block = mapAnonymous(BUFFER_BYTES);
  try {
    const state: Record<string, Uint8Array> = {};
    for (const { name, get, size } of SAVE_ORDER) {
      block.u8.fill(0);
      check(libc.ioctl(fd, get, block.address), `save the vCPU's ${name}`);
      state[name] = block.u8.slice(0, size);
    }
    state[MSRS] = saveMsrs(fd, block);
    return state;
  } finally {
    munmap(block.address, block.size);
  }
}

/** Puts a saved state into a new vCPU. @throws SysError; HypervisorError when the state is incomplete */
export function restoreVcpuState(fd: number, state: VcpuState): void {
  const block = mapAnonymous(BUFFER_BYTES);
  try {
    for (const { name, set, size } of RESTORE_ORDER) {
      const part = state[name];
      if (part?.length !== size) throw new HypervisorError(`the saved vCPU state has no usable ${name}`);
      block.u8.set(part);
      check(libc.ioctl(fd, set, block.address), `restore the vCPU's ${name}`);
    }
    restoreMsrs(fd, block, state[MSRS]);
  } finally {
    munmap(block.address, block.size);
  }
}

/** KVM stops at the first register it does not know: that one is left out and the rest is asked for again. */
function saveMsrs(fd: number, block: MemoryBlock): Uint8Array {
  const saved = new Uint8Array(SAVED_MSRS.length * kvmMsrEntry.size);
  let count = 0;
  let wanted = SAVED_MSRS;
  while (wanted.length > 0) {
    block.u8.fill(0);
    block.u32[0] = wanted.length;
    wanted.forEach((index, i) => {
      kvmMsrEntry.at(block, 8 + i * kvmMsrEntry.size).index = index;
    });
    const read = check(libc.ioctl(fd, Kvm.GET_MSRS, block.address), "KVM_GET_MSRS");
    saved.set(block.u8.subarray(8, 8 + read * kvmMsrEntry.size), count * kvmMsrEntry.size);
    count += read;
    wanted = wanted.slice(read + 1);
  }
  return saved.slice(0, count * kvmMsrEntry.size);
}

/**
 * KVM answers 0 for some registers that it then refuses to set, because the guest does not have them: a refused 0 is
 * passed over.
 */
function restoreMsrs(fd: number, block: MemoryBlock, saved: Uint8Array | undefined): void {
  const count = (saved?.length ?? 0) / kvmMsrEntry.size;
  if (saved === undefined || !Number.isInteger(count) || count > MSR_BATCH)
    throw new HypervisorError("the saved vCPU state has no usable MSRs");
  for (let from = 0; from < count; ) {
    block.u8.fill(0);
    block.u32[0] = count - from;
    block.u8.set(saved.subarray(from * kvmMsrEntry.size), 8);
    const written = check(libc.ioctl(fd, Kvm.SET_MSRS, block.address), "KVM_SET_MSRS");
    if (from + written === count) return;
    const { index, data } = kvmMsrEntry.at(block, 8 + written * kvmMsrEntry.size);
    if (data !== 0n)
      throw new HypervisorError(`KVM refuses to set MSR 0x${index.toString(16)} to 0x${data.toString(16)}`);
    from += written + 1;
  }
}
