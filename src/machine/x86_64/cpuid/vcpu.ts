import type { CpuidEntry } from "../../../hypervisor/hypervisor.ts";
import { type CpuTopology, packageSize, topologyApicId, topologyWidths } from "../topology.ts";
import { CpuidLeaves } from "./leaves.ts";
import { cpuVendor } from "./vendor.ts";

const bit = (n: number): number => 2 ** n;

/** Leaf 1 (Intel SDM vol. 2A, CPUID). */
const ECX_VMX = bit(5);
const EDX_HTT = bit(28);
/** Leaf 8000_0001h ECX (AMD APM vol. 3, appendix E.4.2). */
const EXTENDED_FEATURES = 0x8000_0001;
const ECX_CMP_LEGACY = bit(1);
const ECX_SVM = bit(2);
const ECX_TOPOLOGY_EXTENSIONS = bit(22);
/** Cache topology: EAX[4:0] is the type, 0 where there are no more caches. */
const INTEL_CACHES = 0x04;
const AMD_CACHES = 0x8000_001d;
const CACHE_TYPE = 0x1f;
/** Extended topology: level types in ECX[15:8]. */
const EXTENDED_TOPOLOGY = 0x0b;
const EXTENDED_TOPOLOGY_V2 = 0x1f;
const LEVEL_THREAD = 1 << 8;
const LEVEL_CORE = 2 << 8;
const LEVEL_DIE = 5 << 8;
/** AMD: core counts, and the place of this processor. */
const SIZES = 0x8000_0008;
const AMD_TOPOLOGY = 0x8000_001e;
/** CLFLUSH line size in units of 8 bytes, leaf 1 EBX[15:8]. */
const CLFLUSH_64_BYTES = 8 << 8;

/** What decides the leaves of one vCPU. */
export interface VcpuCpuidInputs {
  /** As `commonCpuid` made them. */
  readonly common: readonly CpuidEntry[];
  /** The topology that CPUID describes (`cpuidTopology`). */
  readonly topology: CpuTopology;
  /** Of the vCPU. */
  readonly index: number;
  /** `--cpus nested`. */
  readonly nested: boolean;
}

/** The leaves of one vCPU, for KVM_SET_CPUID2. */
export function vcpuCpuid({ common, topology, index, nested }: VcpuCpuidInputs): CpuidEntry[] {
  const leaves = new CpuidLeaves(common);
  const vendor = cpuVendor(common);
  const apicId = topologyApicId(topology, index);
  const widths = topologyWidths(topology);
  const total = packageSize(topology);

  leaves.change(1, undefined, "ebx", (ebx) => (ebx & 0xffff) | ((apicId & 0xff) << 24) | ((total & 0xff) << 16));
  leaves.setBits(1, "edx", EDX_HTT);
  if (!nested && vendor === "intel") leaves.clearBits(1, undefined, "ecx", ECX_VMX);
  if (!nested && vendor === "amd") leaves.clearBits(EXTENDED_FEATURES, undefined, "ecx", ECX_SVM);

  if (vendor === "intel") limitCacheSharing(leaves, INTEL_CACHES, 2 ** widths.core - 1);
  if (vendor === "amd") limitCacheSharing(leaves, AMD_CACHES, 2 ** widths.core - 1);
  if (vendor === "intel") setCoreIds(leaves, Math.min(2 ** (widths.die - widths.thread) - 1, 63));

  const { threadsPerCore, coresPerDie } = topology;
  const level = (leaf: number, subleaf: number, eax: number, ebx: number, ecx: number) =>
    leaves.setSubleaf(leaf, subleaf, { eax, ebx, ecx, edx: apicId });
  level(EXTENDED_TOPOLOGY, 0, widths.thread, threadsPerCore, LEVEL_THREAD);
  level(EXTENDED_TOPOLOGY, 1, widths.die, total, LEVEL_CORE);
  level(EXTENDED_TOPOLOGY_V2, 0, widths.thread, threadsPerCore, LEVEL_THREAD);
  level(EXTENDED_TOPOLOGY_V2, 1, widths.core, threadsPerCore * coresPerDie, LEVEL_CORE);
  level(EXTENDED_TOPOLOGY_V2, 2, widths.die, total, LEVEL_DIE);
  if (vendor === "amd") setAmdTopology(leaves, topology, apicId);
  return leaves.entries();
}

/** EAX[25:14]: how many logical processors share a cache, less one. */
function limitCacheSharing(leaves: CpuidLeaves, leaf: number, most: number): void {
  for (const { index, eax } of leaves.subleaves(leaf)) {
    if ((eax & CACHE_TYPE) === 0) continue;
    const sharing = Math.min((eax >>> 14) & 0xfff, most);
    leaves.change(leaf, index, "eax", (value) => (value & ~(0xfff << 14)) | (sharing << 14));
  }
}

/** EAX[31:26]: how many core IDs a package has, less one. */
function setCoreIds(leaves: CpuidLeaves, value: number): void {
  for (const { index, eax } of leaves.subleaves(INTEL_CACHES))
    if ((eax & CACHE_TYPE) !== 0)
      leaves.change(INTEL_CACHES, index, "eax", (old) => (old & 0x03ff_ffff) | (value << 26));
}

function setAmdTopology(leaves: CpuidLeaves, topology: CpuTopology, apicId: number): void {
  const { threadsPerCore, coresPerDie, diesPerPackage } = topology;
  const { thread, core, die } = topologyWidths(topology);
  const perDie = threadsPerCore * coresPerDie;
  leaves.setLeaf(AMD_TOPOLOGY, {
    eax: apicId,
    ebx: ((threadsPerCore - 1) << 8) | (apicId & 0xff),
    ecx: ((diesPerPackage - 1) << 8) | ((thread + die) & 0xff),
    edx: 0,
  });
  if (perDie > 1) {
    leaves.setBits(EXTENDED_FEATURES, "ecx", ECX_CMP_LEGACY | ECX_TOPOLOGY_EXTENSIONS);
    leaves.change(1, undefined, "ebx", () => ((apicId & 0xff) << 24) | ((perDie & 0xff) << 16) | CLFLUSH_64_BYTES);
    leaves.change(SIZES, undefined, "ecx", () => ((thread + core + die) << 12) | (perDie - 1));
  } else {
    leaves.change(SIZES, undefined, "ecx", () => 0);
  }
}
