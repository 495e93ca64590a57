import type { CpuidLeaves, Registers } from "./leaves.ts";

const HYPERVISOR_FIRST = 0x4000_0000;
const HYPERVISOR_LAST = 0x4000_ffff;

/** Hypervisor Top Level Functional Specification 6.0b, section 2.4; the names are "Linux KVM Hv" and "Hv#1". */
const LEAVES: readonly (readonly [number, Partial<Registers>])[] = [
  [0x4000_0000, { eax: 0x4000_000a, ebx: 0x756e_694c, ecx: 0x564b_2078, edx: 0x7648_204d }],
  [0x4000_0001, { eax: 0x3123_7648 }],
  [0x4000_0002, { eax: 0x3839, ebx: 0xa_0000 }],
  [0x4000_0003, { eax: 0x0a7f, edx: 0x118 }],
  [0x4000_0004, { eax: 0x62e, ebx: 0xfff }],
  [0x4000_0005, {}],
  [0x4000_0006, {}],
  [0x4000_0007, {}],
  [0x4000_0008, {}],
  [0x4000_0009, {}],
  [0x4000_000a, {}],
];

/** Presents the hypervisor as Hyper-V instead of KVM. */
export function presentHyperV(leaves: CpuidLeaves): void {
  leaves.remove(HYPERVISOR_FIRST, HYPERVISOR_LAST);
  for (const [leaf, registers] of LEAVES) leaves.setLeaf(leaf, registers);
}
