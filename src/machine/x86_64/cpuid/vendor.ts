import type { CpuidEntry } from "../../../hypervisor/hypervisor.ts";

export type CpuVendor = "intel" | "amd" | "other";

/** The vendor that leaf 0 names in EBX, EDX and ECX. */
export function cpuVendor(entries: readonly CpuidEntry[]): CpuVendor {
  const leaf = entries.find((entry) => entry.function === 0);
  if (leaf === undefined) return "other";
  const bytes = new Uint8Array(Uint32Array.of(leaf.ebx, leaf.edx, leaf.ecx).buffer);
  switch (String.fromCharCode(...bytes)) {
    case "GenuineIntel":
      return "intel";
    case "AuthenticAMD":
      return "amd";
    default:
      return "other";
  }
}

/** Where leaf 8000_0008h is missing (Intel SDM vol. 3A section 4.1.4). */
const BITS_WITHOUT_LEAF = 36;

/** Bits of guest physical addresses: what the host has, at most `max`. */
export function physicalAddressBits(entries: readonly CpuidEntry[], max: number): number {
  const leaf = entries.find((entry) => entry.function === 0x8000_0008);
  return Math.min(leaf === undefined ? BITS_WITHOUT_LEAF : leaf.eax & 0xff, max);
}
