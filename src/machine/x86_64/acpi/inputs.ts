import type { Gpa } from "../../../memory/address.ts";
import type { NumaNode } from "../../acpi/numa.ts";
import type { VirtioIommuTopology } from "../../acpi/tables/viot.ts";
import type { PciSegment } from "../../acpi/topology.ts";

/** Everything the ACPI tables of an x86-64 machine follow from. */
export interface AcpiInputs {
  readonly cpus: {
    /** vCPUs present at boot: those with the lowest indices. */
    readonly boot: number;
    /** The APIC ID of every vCPU there can ever be, by index. */
    readonly apicIds: ArrayLike<number>;
  };
  /** By segment number; at least one. */
  readonly pciSegments: readonly PciSegment[];
  /** Register blocks in the platform device area. */
  readonly controllers: {
    readonly pciHotplug: Gpa;
    readonly cpuHotplug: Gpa;
    /** The event register (one byte). */
    readonly events: Gpa;
    /** Only with ACPI memory hotplug. */
    readonly memoryHotplug?: Gpa | undefined;
  };
  /** Whether there is a serial port at 3F8h. */
  readonly serial: boolean;
  /** Whether there is a fw_cfg device at port 510h. */
  readonly fwCfg: boolean;
  /** Whether there is a TPM. */
  readonly tpm: boolean;
  /** NUMA nodes; without them there is neither SRAT nor SLIT. */
  readonly numa?: readonly NumaNode[] | undefined;
  /** Without it there is no VIOT. */
  readonly iommu?: VirtioIommuTopology | undefined;
  /** Nested virtualisation with Hyper-V enlightenments: names the PM1a registers Windows looks for. */
  readonly nestedHyperV: boolean;
}
