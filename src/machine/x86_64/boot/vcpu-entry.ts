import type { GeneralRegisters, Msr, SpecialRegisters } from "../../../hypervisor/hypervisor.ts";
import { BOOT_GDT, BOOT_IDT, BOOT_STACK_TOP, PVH_START_INFO, ZERO_PAGE } from "../layout.ts";
import type { LoadedKernel } from "../loader/kernel.ts";
import { BOOT_GDT_BYTES, BOOT_IDT_BYTES, BOOT_SEGMENTS } from "./segments.ts";

/** Bit 1 is always set. */
const RFLAGS = 0x2;
const CR0_PE = 1n << 0n;

/** General registers at the kernel's entry. All boot vCPUs are given them; only the first uses them. */
export function entryRegisters({ protocol, entry }: Pick<LoadedKernel, "protocol" | "entry">): GeneralRegisters {
  return protocol === "pvh"
    ? { rip: entry, rflags: RFLAGS, rbx: PVH_START_INFO }
    : { rip: entry, rflags: RFLAGS, rsi: ZERO_PAGE, rsp: BOOT_STACK_TOP };
}

/** Special registers at entry: protected mode without paging. */
export const entrySpecialRegisters = (x2apic: boolean): SpecialRegisters => ({
  ...BOOT_SEGMENTS,
  gdt: { base: BOOT_GDT, limit: BOOT_GDT_BYTES - 1 },
  idt: { base: BOOT_IDT, limit: BOOT_IDT_BYTES - 1 },
  cr0: CR0_PE,
  cr4: 0n,
  x2apic,
});

/** Model-specific registers of every vCPU, those that are plugged in later included (Intel SDM vol. 4). */
export const BOOT_MSRS: readonly Msr[] = [
  { index: 0x174, data: 0n }, // SYSENTER_CS
  { index: 0x175, data: 0n }, // SYSENTER_ESP
  { index: 0x176, data: 0n }, // SYSENTER_EIP
  { index: 0xc000_0081, data: 0n }, // STAR
  { index: 0xc000_0083, data: 0n }, // CSTAR
  { index: 0xc000_0102, data: 0n }, // KERNEL_GS_BASE
  { index: 0xc000_0084, data: 0n }, // FMASK
  { index: 0xc000_0082, data: 0n }, // LSTAR
  { index: 0x10, data: 0n }, // TSC
  { index: 0x1a0, data: 1n }, // MISC_ENABLE: fast strings
  { index: 0x2ff, data: 0x806n }, // MTRR_DEF_TYPE: enabled, write-back
];

/** The x87 control word and MXCSR as after FNINIT and reset. */
export const BOOT_FPU = { fcw: 0x37f, mxcsr: 0x1f80 } as const;

/** Delivery modes of the local APIC's pins (Intel SDM vol. 3A, figure 12-8). */
export const LINT_DELIVERY = { lint0: 7 /* ExtINT */, lint1: 4 /* NMI */ } as const;
