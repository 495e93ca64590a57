import type { VmConfig } from "../config/schema/vm.ts";
import { PAGE_SIZE } from "../host/mmap.ts";
import type { CpuidEntry } from "../hypervisor/hypervisor.ts";
import type { PciSegment } from "../machine/acpi/topology.ts";
import { type AddressSpace, divideAddressSpace } from "../machine/x86_64/address-space.ts";
import { physicalAddressBits } from "../machine/x86_64/cpuid/vendor.ts";
import { RAM_ABOVE_HOLE, RAM_HOLE } from "../machine/x86_64/layout.ts";
import { pciSegments } from "../machine/x86_64/pci-apertures.ts";
import { placeRam, type RamPiece, ramEnd } from "../machine/x86_64/ram-placement.ts";
import { apicIds, type CpuTopology, needsX2apic } from "../machine/x86_64/topology.ts";

/** Where everything of a machine goes, worked out from its configuration before anything is made. */
export interface MachinePlan {
  readonly physicalAddressBits: number;
  readonly ram: readonly RamPiece[];
  readonly ramBelow4g: number;
  readonly ramAbove4g: number;
  readonly space: AddressSpace;
  readonly segments: readonly PciSegment[];
  /** As configured; undefined when it was not. */
  readonly topology: CpuTopology | undefined;
  /** Of every vCPU there can be, by index. */
  readonly apicIds: readonly number[];
  /** Whether vCPUs start in x2APIC mode, because some APIC ID needs it. */
  readonly x2apic: boolean;
}

/** A machine in which nothing runs. */
export class NoVcpuError extends Error {
  override readonly name = "NoVcpuError";
  constructor() {
    super("a VM needs a vCPU at boot: give --cpus boot=1 or more");
  }
}

/** @throws NoVcpuError, RamPlacementError, AddressSpaceError saying what to change */
export function planMachine({ cpus, memory }: VmConfig, hostCpuid: readonly CpuidEntry[]): MachinePlan {
  if (cpus.boot_vcpus === 0) throw new NoVcpuError();
  const bits = physicalAddressBits(hostCpuid, cpus.max_phys_bits);
  const topology = cpus.topology && {
    threadsPerCore: cpus.topology.threads_per_core,
    coresPerDie: cpus.topology.cores_per_die,
    diesPerPackage: cpus.topology.dies_per_package,
    packages: cpus.topology.packages,
  };
  const pageSize = memory.hugepages ? (memory.hugepage_size ?? PAGE_SIZE) : PAGE_SIZE;
  const ram = placeRam([{ size: memory.size, pageSize }], bits);
  const end = ramEnd(ram);
  const space = divideAddressSpace(end, bits, undefined);
  return {
    physicalAddressBits: bits,
    ram,
    ramBelow4g: Math.min(end, RAM_HOLE),
    ramAbove4g: Math.max(0, end - RAM_ABOVE_HOLE),
    space,
    segments: pciSegments([{ mmio32: 1, mmio64: 1 }], space.deviceArea),
    topology,
    apicIds: [...apicIds(cpus.max_vcpus, topology)],
    x2apic: needsX2apic(cpus.max_vcpus, topology),
  };
}
