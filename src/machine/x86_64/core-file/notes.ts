import type { CoreRegisters, CoreSegment } from "../../../hypervisor/hypervisor.ts";
import { ByteWriter } from "../../byte-writer.ts";

const NT_PRSTATUS = 1;
/** The type of QEMU's own notes (dump-guest-memory). */
const QEMU_CPU_STATE = 0;
const QEMU_CPU_STATE_VERSION = 1;
/** Bytes of QEMU's structure: its head, 18 registers, 10 segments, 5 control registers and the kernel's GS base. */
const QEMU_CPU_STATE_BYTES = 8 + 18 * 8 + 10 * 24 + 5 * 8 + 8;
/** Bytes of `struct elf_prstatus` before the process's number, between it and the registers, and after them (linux/elfcore.h). */
const PRSTATUS = { beforePid: 32, beforeRegisters: 76, afterRegisters: 8 } as const;

/**
 * The notes of a core file: of each vCPU first what a debugger of processes reads, a process being a vCPU, then what crash and
 * other debuggers of kernels read, in QEMU's format.
 */
export function cpuNotes(vcpus: readonly CoreRegisters[]): Uint8Array {
  const notes = new ByteWriter();
  for (const [index, registers] of vcpus.entries()) note(notes, "CORE", NT_PRSTATUS, processStatus(registers, index));
  for (const registers of vcpus) note(notes, "QEMU", QEMU_CPU_STATE, qemuCpuState(registers));
  return notes.finish();
}

/** An ELF note (gABI, chapter 5): name and description each end on 4 bytes. */
function note(into: ByteWriter, name: string, type: number, description: Uint8Array): void {
  into.u32(name.length + 1);
  into.u32(description.length);
  into.u32(type);
  into.ascii(name, Math.ceil((name.length + 1) / 4) * 4, "\0");
  into.bytes(description);
  into.zeros(-description.length & 3);
}

/** `struct elf_prstatus`; the registers are in the order of `struct user_regs_struct` (sys/user.h). */
function processStatus(registers: CoreRegisters, index: number): Uint8Array {
  const { cs, ss, ds, es, fs, gs } = registers;
  const status = new ByteWriter(512);
  status.zeros(PRSTATUS.beforePid);
  status.u32(index + 1);
  status.zeros(PRSTATUS.beforeRegisters);
  for (const name of ["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8"] as const)
    status.u64(registers[name]);
  for (const name of ["rax", "rcx", "rdx", "rsi", "rdi"] as const) status.u64(registers[name]);
  // The number of a system call, which a vCPU is not in.
  status.u64(0xffff_ffff_ffff_ffffn);
  status.u64(registers.rip);
  status.u64(cs.selector);
  status.u64(registers.rflags);
  status.u64(registers.rsp);
  status.u64(ss.selector);
  status.u64(fs.base);
  status.u64(gs.base);
  for (const { selector } of [ds, es, fs, gs]) status.u64(selector);
  status.zeros(PRSTATUS.afterRegisters);
  return status.finish();
}

/** QEMUCPUState, version 1, as dump-guest-memory writes it. */
function qemuCpuState(registers: CoreRegisters): Uint8Array {
  const state = new ByteWriter(512);
  state.u32(QEMU_CPU_STATE_VERSION);
  state.u32(QEMU_CPU_STATE_BYTES);
  for (const name of ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"] as const) state.u64(registers[name]);
  for (const name of ["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"] as const) state.u64(registers[name]);
  state.u64(registers.rip);
  state.u64(registers.rflags);
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt"] as const)
    segment(state, registers[name]);
  state.u64(registers.cr0);
  state.u64(0);
  for (const name of ["cr2", "cr3", "cr4"] as const) state.u64(registers[name]);
  state.u64(registers.kernelGsBase);
  return state.finish();
}

function segment(into: ByteWriter, { selector, limit, flags, base }: CoreSegment): void {
  into.u32(selector);
  into.u32(limit);
  into.u32(flags);
  into.zeros(4);
  into.u64(base);
}
