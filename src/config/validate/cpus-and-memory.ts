import type { CpuTopology } from "../schema/cpus.ts";
import type { MemoryZoneConfig } from "../schema/memory.ts";
import { type Checks, isPowerOfTwo, refuse } from "./checks.ts";

const MAX_CPUS_KVM_X86 = 8192;
const MAX_CPUS = 255;

/** Rules 10 and 11. @throws ValidationError */
export function checkCpuCounts({ config: { cpus }, platform }: Checks): void {
  const { boot_vcpus: boot, max_vcpus: max } = cpus;
  if (max < boot) refuse("cpus-max-below-boot", `at most ${max} CPUs and ${boot} at boot: max must not be below boot`);
  const limit = platform.hypervisor === "kvm" && platform.arch === "x86_64" ? MAX_CPUS_KVM_X86 : MAX_CPUS;
  if (max > limit) refuse("too-many-cpus", `too many CPUs: ${max} exceed the limit of ${limit}`);
}

/** Rules 41 to 43. @throws ValidationError */
export function checkTopology({ config: { cpus }, platform }: Checks): void {
  const { topology, max_vcpus: max } = cpus;
  if (topology === undefined) return;
  const { threads_per_core: threads, cores_per_die: cores, dies_per_package: dies, packages } = topology;
  const parts: readonly (keyof CpuTopology)[] = ["threads_per_core", "cores_per_die", "dies_per_package", "packages"];
  for (const part of parts) if (topology[part] === 0) refuse("topology-zero", `CPU topology: ${part} is 0`);
  if (platform.arch === "x86_64" && threads > 2)
    refuse("topology-threads", `CPU topology: ${threads} threads per core, at most 2 are possible`);
  if (platform.arch === "aarch64" && dies !== 1)
    refuse("topology-dies", `CPU topology: ${dies} dies per package, only 1 is possible`);
  const product = threads * cores * dies * packages;
  if (product !== max)
    refuse("topology-count", `CPU topology makes ${product} CPUs, but there are at most ${max}: they must be equal`);
}

type Backing = Pick<MemoryZoneConfig, "shared" | "mergeable" | "hugepages" | "hugepage_size">;

function checkHugepages(what: string, { hugepages, hugepage_size: size }: Backing): void {
  if (size === undefined) return;
  if (!hugepages) refuse("hugepage-size", `${what}: hugepage_size needs hugepages=on`);
  if (!isPowerOfTwo(size)) refuse("hugepage-size-power", `${what}: hugepage_size ${size} is not a power of two`);
}

function checkMergeable(what: string, { shared, mergeable }: Backing): void {
  if (shared && mergeable) refuse("shared-mergeable", `${what}: shared and mergeable exclude each other`);
}

/** Rules 44 to 46. @throws ValidationError */
export function checkMemory({ config: { memory } }: Checks): void {
  checkHugepages("--memory", memory);
  checkMergeable("--memory", memory);
  for (const zone of memory.zones ?? []) {
    const what = `--memory-zone '${zone.id}'`;
    checkMergeable(what, zone);
    checkHugepages(what, zone);
  }
}
