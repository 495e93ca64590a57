import type { CpuidEntry } from "../../../hypervisor/hypervisor.ts";
import { presentHyperV } from "./hyperv.ts";
import { CpuidLeaves } from "./leaves.ts";

const bit = (n: number): number => 2 ** n;

/** Leaf 1 (Intel SDM vol. 2A, CPUID). */
const ECX_TSC_DEADLINE = bit(24);
const ECX_HYPERVISOR = bit(31);
const EDX_MTRR = bit(12);
/** Leaf 7: AMX-BF16, AMX-TILE and AMX-INT8, AMX-FP16, AMX-COMPLEX. */
const AMX_7_0_EDX = bit(22) | bit(24) | bit(25);
const AMX_7_1_EAX = bit(21);
const AMX_7_1_EDX = bit(8);
/** Tile information and TMUL information. */
const AMX_LEAVES = [0x1d, 0x1e] as const;
/** KVM_FEATURE_MSI_EXT_DEST_ID (Linux Documentation/virt/kvm/x86/cpuid.rst). */
const KVM_FEATURES = 0x4000_0001;
const MSI_EXT_DEST_ID = bit(15);
/** Timing information, which hypervisors share; Linux reads it. */
const HYPERVISOR_BASE = 0x4000_0000;
const TIMING = 0x4000_0010;
const LAPIC_BUS_KHZ = 1_000_000;
const BRAND_LEAVES = [0x8000_0002, 0x8000_0003, 0x8000_0004] as const;
const BRAND_LEAF_BYTES = 16;
/** Advanced power management: EDX bit 8 is the invariant TSC. */
const POWER_MANAGEMENT = 0x8000_0007;
const INVARIANT_TSC = bit(8);
const ADDRESS_SIZES = 0x8000_0008;

/** What decides the leaves that all vCPUs have alike. */
export interface CommonCpuidInputs {
  /** What the hypervisor can offer (KVM_GET_SUPPORTED_CPUID). */
  readonly supported: readonly CpuidEntry[];
  /** The name of the host's processors, where it is known: KVM offers none. */
  readonly brand?: string | undefined;
  /** Of the guest. */
  readonly physicalAddressBits: number;
  /** `--cpus kvm_hyperv`. */
  readonly kvmHyperv: boolean;
  /** `--cpus features=amx`. */
  readonly amx: boolean;
  /** The guest's TSC frequency, where the hypervisor tells it. */
  readonly tscKhz: number | undefined;
}

/** The leaves all vCPUs have alike, for `vcpuCpuid` to complete. */
export function commonCpuid(inputs: CommonCpuidInputs): CpuidEntry[] {
  const leaves = new CpuidLeaves(inputs.supported);
  leaves.setBits(1, "ecx", ECX_HYPERVISOR | ECX_TSC_DEADLINE);
  leaves.setBits(1, "edx", EDX_MTRR);
  if (!inputs.amx) hideAmx(leaves);
  if (inputs.brand !== undefined) setBrand(leaves, inputs.brand);
  const bits = inputs.physicalAddressBits;
  leaves.change(ADDRESS_SIZES, undefined, "eax", (eax) => (eax & 0xff00_ff00) | (bits << 16) | bits);
  if (inputs.kvmHyperv) {
    presentHyperV(leaves);
  } else {
    leaves.setBits(KVM_FEATURES, "eax", MSI_EXT_DEST_ID);
    if (inputs.tscKhz !== undefined && hasInvariantTsc(inputs.supported)) {
      leaves.setLeaf(HYPERVISOR_BASE, { eax: TIMING });
      leaves.setLeaf(TIMING, { eax: inputs.tscKhz, ebx: LAPIC_BUS_KHZ, ecx: 0, edx: 0 });
    }
  }
  return leaves.entries();
}

function hideAmx(leaves: CpuidLeaves): void {
  leaves.clearBits(7, 0, "edx", AMX_7_0_EDX);
  leaves.clearBits(7, 1, "eax", AMX_7_1_EAX);
  leaves.clearBits(7, 1, "edx", AMX_7_1_EDX);
  for (const leaf of AMX_LEAVES)
    for (const register of ["eax", "ebx", "ecx", "edx"] as const) leaves.change(leaf, undefined, register, () => 0);
}

/** The brand string: 48 bytes with a zero at the end, sixteen in the registers of each leaf (Intel SDM vol. 2A, CPUID). */
function setBrand(leaves: CpuidLeaves, brand: string): void {
  const bytes = Buffer.alloc(BRAND_LEAVES.length * BRAND_LEAF_BYTES);
  bytes.write(brand, 0, bytes.length - 1, "latin1");
  BRAND_LEAVES.forEach((leaf, i) => {
    const at = i * BRAND_LEAF_BYTES;
    leaves.setLeaf(leaf, {
      eax: bytes.readUInt32LE(at),
      ebx: bytes.readUInt32LE(at + 4),
      ecx: bytes.readUInt32LE(at + 8),
      edx: bytes.readUInt32LE(at + 12),
    });
  });
}

function hasInvariantTsc(entries: readonly CpuidEntry[]): boolean {
  return entries.some((entry) => entry.function === POWER_MANAGEMENT && (entry.edx & INVARIANT_TSC) !== 0);
}
