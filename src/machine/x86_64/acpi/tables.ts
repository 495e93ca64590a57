import { type Gpa, gpa } from "../../../memory/address.ts";
import { writeMcfg } from "../../acpi/tables/mcfg.ts";
import { linkXsdt, writeRsdp } from "../../acpi/tables/rsdp.ts";
import { writeSlit } from "../../acpi/tables/slit.ts";
import { writeSrat } from "../../acpi/tables/srat.ts";
import { writeTpm2 } from "../../acpi/tables/tpm2.ts";
import { writeViot } from "../../acpi/tables/viot.ts";
import { writeXsdt } from "../../acpi/tables/xsdt.ts";
import { ByteWriter } from "../../byte-writer.ts";
import { ACPI_BASE, SMBIOS_BASE, TPM_BASE } from "../platform.ts";
import { writeDsdt } from "./dsdt.ts";
import { writeX86Fadt } from "./fadt.ts";
import type { AcpiInputs } from "./inputs.ts";
import { writeX86Madt } from "./madt.ts";

/** The machine needs more ACPI tables than there is room for. */
export class AcpiTablesTooLargeError extends Error {
  override readonly name = "AcpiTablesTooLargeError";
  constructor(length: number) {
    super(
      `the ACPI tables take ${length} bytes, ${SMBIOS_BASE - ACPI_BASE} is the most that fits; ` +
        "lower the maximum of --cpus or the number of PCI segments or of IOMMU segments of --platform",
    );
  }
}

/** One table within `AcpiTables.bytes`. */
export interface AcpiTable {
  readonly signature: string;
  /** Offset of its header in `bytes`. */
  readonly offset: number;
  readonly length: number;
}

export interface AcpiTables {
  /** Where `bytes` belongs in guest memory. */
  readonly base: Gpa;
  readonly bytes: Uint8Array;
  readonly rsdpGpa: Gpa;
  /** The tables after the RSDP, in memory order: DSDT first, XSDT last. The XSDT lists those between. */
  readonly tables: readonly AcpiTable[];
}

/**
 * All ACPI tables of an x86-64 machine, ready to be copied to guest memory.
 * @throws AcpiTablesTooLargeError; RangeError for inputs that no machine can have
 */
export function buildAcpiTables(inputs: AcpiInputs): AcpiTables {
  checkInputs(inputs);
  const out = new ByteWriter(16 * 1024);
  const tables: AcpiTable[] = [];
  const append = (signature: string, write: () => number): number => {
    const offset = write();
    tables.push({ signature, offset, length: out.length - offset });
    return ACPI_BASE + offset;
  };

  const rsdp = writeRsdp(out);
  const dsdt = append("DSDT", () => writeDsdt(out, inputs));
  const listed = [
    append("FACP", () => writeX86Fadt(out, dsdt, inputs.nestedHyperV)),
    append("APIC", () => writeX86Madt(out, inputs.cpus.boot, inputs.cpus.apicIds)),
    append("MCFG", () => writeMcfg(out, inputs.pciSegments)),
  ];
  if (inputs.tpm) listed.push(append("TPM2", () => writeTpm2(out, TPM_BASE)));
  const { numa, iommu } = inputs;
  if (numa !== undefined) {
    listed.push(append("SRAT", () => writeSrat(out, numa, x2ApicAffinity(inputs.cpus.apicIds))));
    listed.push(append("SLIT", () => writeSlit(out, numa)));
  }
  if (iommu !== undefined) listed.push(append("VIOT", () => writeViot(out, iommu)));
  linkXsdt(
    out,
    rsdp,
    append("XSDT", () => writeXsdt(out, listed)),
  );

  if (ACPI_BASE + out.length > SMBIOS_BASE) throw new AcpiTablesTooLargeError(out.length);
  return { base: ACPI_BASE, bytes: out.finish(), rsdpGpa: gpa(ACPI_BASE + rsdp), tables };
}

const MAX_SEGMENTS = 0x100;

function checkInputs({ cpus, pciSegments, numa }: AcpiInputs): void {
  const possible = cpus.apicIds.length;
  if (!Number.isInteger(cpus.boot) || cpus.boot < 1 || cpus.boot > possible)
    throw new RangeError(`${cpus.boot} of ${possible} vCPUs at boot`);
  if (pciSegments.length < 1 || pciSegments.length > MAX_SEGMENTS)
    throw new RangeError(`${pciSegments.length} PCI segments`);
  for (const { id, cpus: members } of numa ?? [])
    for (const index of members)
      if (!Number.isInteger(index) || index < 0 || index >= possible)
        throw new RangeError(`NUMA node ${id} has vCPU ${index}; the highest possible is ${possible - 1}`);
}

const X2APIC_AFFINITY = 2;
const ENABLED = 1 << 0;

/** A processor local x2APIC affinity structure (ACPI 6.5 section 5.2.16.3). */
const x2ApicAffinity =
  (apicIds: ArrayLike<number>) =>
  (out: ByteWriter, cpuIndex: number, nodeId: number): void => {
    out.u8(X2APIC_AFFINITY);
    out.u8(24);
    out.u16(0);
    out.u32(nodeId);
    out.u32(apicIds[cpuIndex] ?? cpuIndex);
    out.u32(ENABLED);
    out.u32(0);
    out.u32(0);
  };
