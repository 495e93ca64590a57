/**
 * What a machine needs of a hypervisor. KVM is behind it today; code above this layer names no KVM request.
 * Addresses are plain numbers here: the guest and host address brands belong to the layer above.
 */

/** The hypervisor cannot do what this VMM needs, or a request of it failed. */
export class HypervisorError extends Error {
  override readonly name = "HypervisorError";
}

/** A leaf of CPUID. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** A model-specific register and the value to give it. */
export interface Msr {
  readonly index: number;
  readonly data: bigint;
}

/** General registers; those left out are 0. */
export interface GeneralRegisters {
  readonly rip: number;
  readonly rflags: number;
  readonly rsp?: number;
  readonly rbx?: number;
  readonly rsi?: number;
}

/** A segment register with its descriptor cache. */
export interface Segment {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

/** The special registers a boot protocol sets; all others keep their reset values. */
export interface SpecialRegisters {
  readonly code: Segment;
  readonly data: Segment;
  readonly task: Segment;
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly idt: { readonly base: number; readonly limit: number };
  readonly cr0: bigint;
  readonly cr4: bigint;
  /** Whether the local APIC starts in x2APIC mode. */
  readonly x2apic: boolean;
}

/** A segment register as a core file has it. */
export interface CoreSegment {
  readonly selector: number;
  readonly limit: number;
  /** Attributes, where the upper half of a descriptor has them: bits 8 to 23. */
  readonly flags: number;
  readonly base: bigint;
}

type GeneralRegister =
  | ("rax" | "rbx" | "rcx" | "rdx" | "rsi" | "rdi" | "rsp" | "rbp" | "rip" | "rflags")
  | ("r8" | "r9" | "r10" | "r11" | "r12" | "r13" | "r14" | "r15");

/** What a core file says of a vCPU. */
export type CoreRegisters = Readonly<
  Record<GeneralRegister | "cr0" | "cr2" | "cr3" | "cr4" | "kernelGsBase", bigint> &
    Record<"cs" | "ds" | "es" | "fs" | "gs" | "ss" | "ldt" | "tr" | "gdt" | "idt", CoreSegment>
>;

/** One access of a vCPU: its width and its value in two halves. */
export interface IoAccess {
  offset: number;
  size: number;
  lo: number;
  hi: number;
}

/** An address space that serves the accesses of a vCPU in place. */
export interface IoSpace {
  read(address: number, access: IoAccess): void;
  write(address: number, access: IoAccess): void;
}

/** Why `Vcpu.run` came back. Port and MMIO accesses have been served by then. */
export const VcpuExit = {
  /** An access was served: run on. */
  SERVED: 0,
  /** A signal or an immediate exit: look at the thread's control. */
  INTERRUPTED: 1,
  /** The guest halted with no way to be woken. */
  HALTED: 2,
  /** Triple fault. */
  TRIPLE_FAULT: 3,
  /** The hypervisor was asked to reset the VM. */
  RESET: 4,
  /** The hypervisor was asked to power the VM off. */
  POWER_OFF: 5,
  /** A level-triggered interrupt ended: `Vcpu.eoiVector` says which. */
  END_OF_INTERRUPT: 6,
} as const;
export type VcpuExit = (typeof VcpuExit)[keyof typeof VcpuExit];

/** A vCPU, used by the one thread that runs it. */
export interface Vcpu {
  /** Sets the leaves the guest sees. @throws SysError, HypervisorError */
  setCpuid(entries: readonly CpuidEntry[]): void;
  /** Sets registers one after the other. @throws HypervisorError naming the first that is refused */
  setMsrs(msrs: readonly Msr[]): void;
  /** @throws SysError */
  setRegisters(registers: GeneralRegisters): void;
  /** @throws SysError */
  setSpecialRegisters(registers: SpecialRegisters): void;
  /** @throws SysError */
  setFpu(fcw: number, mxcsr: number): void;
  /** Sets the delivery modes of the local APIC's LINT0 and LINT1. @throws SysError */
  setLocalInterrupts(lint0DeliveryMode: number, lint1DeliveryMode: number): void;
  /** Runs the guest until something happens, serving one access. @throws HypervisorError when the vCPU cannot go on */
  run(ports: IoSpace, mmio: IoSpace): VcpuExit;
  /** The vector of the last END_OF_INTERRUPT. */
  readonly eoiVector: number;
  /** Completes the access that the last exit served, so that the state may be saved. */
  completeAccess(): void;
  /** The whole architectural state, as opaque parts by name. @throws SysError */
  saveState(): VcpuState;
  /** @throws SysError, HypervisorError */
  restoreState(state: VcpuState): void;
  /** Unmaps what this thread mapped; the descriptor stays open. */
  close(): void;
}

/** A vCPU's saved state: the hypervisor's structures, by name. */
export type VcpuState = Readonly<Record<string, Uint8Array>>;

/** A vCPU that another thread can attach to: plain data. */
export interface VcpuHandle {
  readonly fd: number;
  /** The page that steers a running vCPU: writing 1 to its immediate-exit byte makes `run` return at once. */
  readonly runAddress: number;
  readonly runSize: number;
  /** What the hypervisor counts of the vCPU can be read here, at any time; undefined where it counts nothing. */
  readonly statsFd: number | undefined;
}
