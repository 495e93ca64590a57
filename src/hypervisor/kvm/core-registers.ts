import { mapAnonymous, munmap } from "../../host/mmap.ts";
import type { StructType, ViewOf } from "../../host/struct.ts";
import { type CoreRegisters, type CoreSegment, HypervisorError, type Segment, type VcpuState } from "../hypervisor.ts";
import { kvmMsrEntry, kvmRegs, kvmSregs } from "./abi.ts";

const MSR_KERNEL_GS_BASE = 0xc000_0102;

/** What a debugger wants to know of a vCPU, out of its saved state. @throws HypervisorError when the state is incomplete */
export function coreRegisters(state: VcpuState): CoreRegisters {
  return {
    ...viewed(state, "regs", kvmRegs, generalRegisters),
    ...viewed(state, "sregs", kvmSregs, (view) => {
      const { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4 } = view;
      const table = ({ base, limit }: typeof gdt): CoreSegment => ({
        selector: 0,
        flags: 0,
        base: BigInt(base),
        limit,
      });
      return {
        ...{ cs: segment(cs), ds: segment(ds), es: segment(es), fs: segment(fs), gs: segment(gs), ss: segment(ss) },
        ...{ tr: segment(tr), ldt: segment(ldt), gdt: table(gdt), idt: table(idt), cr0, cr2, cr3, cr4 },
      };
    }),
    kernelGsBase: savedMsr(state, MSR_KERNEL_GS_BASE),
  };
}

function generalRegisters(view: ViewOf<typeof kvmRegs>) {
  const { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags } = view;
  return { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags };
}

/** Looks at a part of the state as a structure. */
function viewed<F, T>(
  state: VcpuState,
  name: string,
  type: StructType<F>,
  read: (view: ReturnType<typeof type.at>) => T,
): T {
  const part = state[name];
  if (part === undefined || part.length < type.size)
    throw new HypervisorError(`the saved vCPU state has no usable ${name}`);
  const block = mapAnonymous(type.size);
  try {
    block.u8.set(part.subarray(0, type.size));
    return read(type.at(block));
  } finally {
    munmap(block.address, block.size);
  }
}

/** The attributes are bits 8 to 23 of a descriptor's upper half (Intel SDM vol. 3, 3.4.5). */
function segment({ base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable }: Segment): CoreSegment {
  const attributes = type | (s << 4) | (dpl << 5) | (present << 7) | (avl << 12) | (l << 13) | (db << 14) | (g << 15);
  return { selector, limit, base: BigInt(base), flags: unusable === 0 ? attributes << 8 : 0 };
}

/** 0 for a register that this host or guest does not have. */
function savedMsr(state: VcpuState, wanted: number): bigint {
  const entries = state["msrs"] ?? new Uint8Array(0);
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  const { index, data } = kvmMsrEntry.offsets;
  for (let at = 0; at + kvmMsrEntry.size <= entries.length; at += kvmMsrEntry.size)
    if (view.getUint32(at + index, true) === wanted) return view.getBigUint64(at + data, true);
  return 0n;
}
