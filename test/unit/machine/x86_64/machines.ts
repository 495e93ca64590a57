import type { NumaNode } from "../../../../src/machine/acpi/numa.ts";
import type { GpaRange, PciAddress } from "../../../../src/machine/acpi/topology.ts";
import type { AcpiInputs } from "../../../../src/machine/x86_64/acpi/inputs.ts";
import type { AcpiTables } from "../../../../src/machine/x86_64/acpi/tables.ts";
import { divideAddressSpace } from "../../../../src/machine/x86_64/address-space.ts";
import { pciSegments } from "../../../../src/machine/x86_64/pci-apertures.ts";
import { apicIds, type CpuTopology } from "../../../../src/machine/x86_64/topology.ts";
import { type Gpa, gpa } from "../../../../src/memory/address.ts";

const GIB = 0x4000_0000;

/** A machine to make tables of: one vCPU, one segment and 512 MiB where nothing else is said. */
export interface MachineSketch {
  readonly boot?: number;
  readonly max?: number;
  readonly topology?: CpuTopology;
  readonly segments?: number;
  readonly ramEnd?: number;
  /** Bytes of ACPI memory hotplug. */
  readonly hotplugSize?: number;
  readonly others?: Partial<Omit<AcpiInputs, "cpus" | "pciSegments" | "controllers">>;
}

export function acpiInputs(sketch: MachineSketch = {}): AcpiInputs {
  const { boot = 1, max = boot, topology, segments = 1, ramEnd = 0x2000_0000, hotplugSize, others } = sketch;
  const hotplug = hotplugSize === undefined ? undefined : ({ method: "acpi", size: hotplugSize } as const);
  const space = divideAddressSpace(gpa(ramEnd), 46, hotplug);
  return {
    cpus: { boot, apicIds: apicIds(max, topology) },
    pciSegments: pciSegments(
      Array.from({ length: segments }, () => ({ mmio32: 1, mmio64: 1 })),
      space.deviceArea,
    ),
    controllers: space.controllers,
    serial: true,
    fwCfg: false,
    tpm: false,
    nestedHyperV: false,
    ...others,
  };
}

const range = (base: number, length: number): GpaRange => ({ base: gpa(base), length });

export const pciDevice = (segment: number, device: number): PciAddress => ({ segment, bus: 0, device, function: 0 });

/** Three nodes out of order: one of RAM and vCPUs, one with room to grow, one of a device. */
export const NUMA_NODES: readonly NumaNode[] = [
  {
    id: 1,
    memory: [range(GIB, 2 * GIB), range(4 * GIB, GIB)],
    hotplugMemory: [range(8 * GIB, 2 * GIB)],
    cpus: [2, 3],
    pciSegments: [0, 1],
    distances: new Map([[0, 21]]),
  },
  {
    id: 0,
    memory: [range(0, GIB)],
    hotplugMemory: [],
    cpus: [0, 1],
    pciSegments: [],
    distances: new Map([
      [1, 30],
      [5, 200],
    ]),
  },
  {
    id: 5,
    memory: [],
    hotplugMemory: [],
    cpus: [],
    pciSegments: [2],
    distances: new Map(),
    genericInitiator: pciDevice(1, 3),
  },
];

/** One table of a set, header included. */
export function tableBytes({ bytes, tables }: AcpiTables, signature: string): Uint8Array {
  const table = tables.find((candidate) => candidate.signature === signature);
  if (table === undefined) throw new Error(`there is no ${signature}`);
  return bytes.slice(table.offset, table.offset + table.length);
}

export const dataView = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The sum of all bytes modulo 256, which is 0 where the checksum is right. */
export const byteSum = (bytes: Uint8Array): number => bytes.reduce((sum, value) => sum + value, 0) & 0xff;

/** ASCII characters at an offset. */
export const textAt = (bytes: Uint8Array, offset: number, length: number): string =>
  String.fromCharCode(...bytes.subarray(offset, offset + length));

/** 64 bits at an offset as an address. */
export const gpaAt = (bytes: Uint8Array, offset: number): Gpa =>
  gpa(Number(dataView(bytes).getBigUint64(offset, true)));
