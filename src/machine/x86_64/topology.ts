/** How vCPUs are grouped. Counts, each at least 1. */
export interface CpuTopology {
  readonly threadsPerCore: number;
  readonly coresPerDie: number;
  readonly diesPerPackage: number;
  readonly packages: number;
}

/** Widest APIC ID that a local APIC has outside x2APIC mode, 255 being the broadcast. */
const XAPIC_MAX_ID = 254;

/** Bits of the fields of an APIC ID, cumulative from the lowest. */
export interface TopologyWidths {
  readonly thread: number;
  /** Threads and cores. */
  readonly core: number;
  /** Threads, cores and dies. */
  readonly die: number;
}

/** Bits that number `count` things from 0 on. */
const bitsFor = (count: number): number => 32 - Math.clz32(count - 1);

export function topologyWidths({ threadsPerCore, coresPerDie, diesPerPackage }: CpuTopology): TopologyWidths {
  const thread = bitsFor(threadsPerCore);
  const core = thread + bitsFor(coresPerDie);
  return { thread, core, die: core + bitsFor(diesPerPackage) };
}

/** Logical processors of a package. */
export const packageSize = ({ threadsPerCore, coresPerDie, diesPerPackage }: CpuTopology): number =>
  threadsPerCore * coresPerDie * diesPerPackage;

/** The APIC ID of the vCPU with an index: thread, core, die and package number in bit fields of their own. */
export function topologyApicId(topology: CpuTopology, index: number): number {
  const { threadsPerCore, coresPerDie, diesPerPackage } = topology;
  const widths = topologyWidths(topology);
  const thread = index % threadsPerCore;
  const core = Math.floor(index / threadsPerCore) % coresPerDie;
  const die = Math.floor(index / (threadsPerCore * coresPerDie)) % diesPerPackage;
  const socket = Math.floor(index / packageSize(topology));
  return (thread | (core << widths.thread) | (die << widths.core) | (socket << widths.die)) >>> 0;
}

/**
 * The APIC ID of every vCPU by index, as the hypervisor, ACPI and the MP table number them: without a configured topology the
 * ID is the index.
 */
export function apicIds(maxVcpus: number, topology: CpuTopology | undefined): Uint32Array {
  return Uint32Array.from({ length: maxVcpus }, (_, index) =>
    topology === undefined ? index : topologyApicId(topology, index),
  );
}

/** What CPUID describes: the configured topology, or one package of all boot vCPUs. */
export const cpuidTopology = (bootVcpus: number, configured: CpuTopology | undefined): CpuTopology =>
  configured ?? { threadsPerCore: 1, coresPerDie: bootVcpus, diesPerPackage: 1, packages: 1 };

/** Whether APIC IDs need more than a byte, so that vCPUs start in x2APIC mode and the hypervisor is told of wide IDs. */
export function needsX2apic(maxVcpus: number, topology: CpuTopology | undefined): boolean {
  const highest = topology === undefined ? maxVcpus : Math.max(...apicIds(maxVcpus, topology));
  return highest > XAPIC_MAX_ID;
}
