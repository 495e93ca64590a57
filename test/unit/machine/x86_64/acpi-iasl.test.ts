import { describe, expect, test } from "bun:test";
import { buildAcpiTables } from "../../../../src/machine/x86_64/acpi/tables.ts";
import { roundTrip } from "../acpi/acpica.ts";
import { acpiInputs, type MachineSketch, NUMA_NODES, pciDevice, tableBytes, textAt } from "./machines.ts";

const HEADER_BYTES = 36;
const X2APIC = 9;
const X2APIC_BYTES = 16;
const ONLINE_CAPABLE = 1 << 1;

const iommu = { address: pciDevice(0, 9), endpoints: [pciDevice(0, 4), pciDevice(1, 31)], segments: [2] };

/** Each machine and the tables it has. */
const MACHINES: Record<string, MachineSketch & { readonly tables: readonly string[] }> = {
  "1 vCPU": { tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"] },
  "4 vCPUs, 2 at boot": { boot: 2, max: 4, tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"] },
  "254 vCPUs with topology": {
    boot: 254,
    topology: { threadsPerCore: 2, coresPerDie: 127, diesPerPackage: 1, packages: 1 },
    tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"],
  },
  "1024 vCPUs with sparse APIC IDs": {
    boot: 1,
    max: 1024,
    topology: { threadsPerCore: 2, coresPerDie: 16, diesPerPackage: 1, packages: 32 },
    tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"],
  },
  "96 segments": { segments: 96, tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"] },
  "memory hotplug": {
    ramEnd: 0x1_4000_0000,
    hotplugSize: 0x1_0000_0000,
    tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"],
  },
  TPM: { others: { tpm: true }, tables: ["DSDT", "FACP", "APIC", "MCFG", "TPM2", "XSDT"] },
  NUMA: {
    boot: 4,
    segments: 3,
    others: { numa: NUMA_NODES },
    tables: ["DSDT", "FACP", "APIC", "MCFG", "SRAT", "SLIT", "XSDT"],
  },
  "serial off": { others: { serial: false }, tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"] },
  "nested Hyper-V and fw_cfg": {
    others: { nestedHyperV: true, fwCfg: true },
    tables: ["DSDT", "FACP", "APIC", "MCFG", "XSDT"],
  },
  everything: {
    boot: 3,
    max: 4,
    segments: 3,
    ramEnd: 0x1_4000_0000,
    hotplugSize: 0x800_0000,
    others: { fwCfg: true, tpm: true, numa: NUMA_NODES, iommu, nestedHyperV: true },
    tables: ["DSDT", "FACP", "APIC", "MCFG", "TPM2", "SRAT", "SLIT", "VIOT", "XSDT"],
  },
};

/**
 * What must survive, in hexadecimal: all but the header, where iasl puts its own name, and the "online capable" flag of
 * the MADT's x2APIC structures, which iasl before 2021 drops.
 */
function comparable(table: Uint8Array): string {
  const body = table.slice(HEADER_BYTES);
  if (textAt(table, 0, 4) === "APIC")
    for (let at = 8; at < body.length && body[at] === X2APIC; at += X2APIC_BYTES)
      body[at + 8] = (body[at + 8] ?? 0) & ~ONLINE_CAPABLE;
  return body.toHex();
}

describe("iasl disassembles and recompiles, without error, warning or remark", () => {
  for (const [name, { tables, ...sketch }] of Object.entries(MACHINES))
    describe(name, () => {
      const built = buildAcpiTables(acpiInputs(sketch));
      test("has its tables in order", () => {
        expect(built.tables.map(({ signature }) => signature)).toEqual([...tables]);
      });
      for (const signature of tables)
        test(signature, async () => {
          const original = tableBytes(built, signature);
          const { complaints, known, recompiled } = await roundTrip(original);
          expect(complaints).toEqual([]);
          expect(recompiled).toBeDefined();
          // iasl before 2021 knows no VIOT; what it does not know it cannot write again.
          expect(known || signature === "VIOT").toBe(true);
          if (known && recompiled !== undefined) expect(comparable(recompiled)).toBe(comparable(original));
        });
    });
});

describe("the DSDT says", () => {
  const source = async (sketch: MachineSketch): Promise<string> =>
    (await roundTrip(tableBytes(buildAcpiTables(acpiInputs(sketch)), "DSDT"))).source.replaceAll(/\s+/g, " ");

  test("what the platform has", async () => {
    const dsl = await source({ boot: 1, max: 2, segments: 2 });
    for (const expected of [
      'DefinitionBlock ("", "DSDT", 6, "CLOUDH", "CHDSDT ", 0x00000001)',
      "Device (\\_SB.PHPR)",
      'Name (_UID, "PCI Hotplug Controller")',
      "OperationRegion (PCST, SystemMemory, 0x00003FFFFFFEF000, 0x10)",
      "Field (PCST, DWordAcc, NoLock, WriteAsZeros) { PCIU, 32, PCID, 32, B0EJ, 32, PSEG, 32 }",
      "Method (PCEJ, 2, Serialized)",
      "\\_SB.PC00.PCNT () \\_SB.PC01.PCNT ()",
      "Device (\\_SB.PC00)",
      "Device (\\_SB.PC01)",
      'Name (_HID, EisaId ("PNP0A08")',
      'Name (_CID, EisaId ("PNP0A03")',
      "Name (_CCA, One)",
      "Name (SUPP, Zero)",
      'ToUUID ("e5c937d0-3553-4d7a-9117-ea4d19c3434d")',
      "Memory32Fixed (ReadWrite, 0xE8000000, // Address Base 0x00100000, // Address Length )",
      "Memory32Fixed (ReadWrite, 0xE8100000, // Address Base 0x00100000, // Address Length )",
      "Device (S000)",
      "Device (S031)",
      "Method (_EJ0, 1, Serialized) // _EJx: Eject Device, x=0-9 { \\_SB.PHPR.PCEJ (_SUN, _SEG) }",
      "If ((Arg0 & 0x80000000)) { Notify (S031, Arg1) }",
      "Package (0x04) { 0x001FFFFF, Zero, Zero, 0x0C }",
      "Device (\\_SB.MBRD)",
      "Device (\\_SB.COM1)",
      'Name (_DDN, "COM1")',
      "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000004, }",
      "IO (Decode16, 0x03F8, // Range Minimum 0x03F8, // Range Maximum 0x00, // Alignment 0x08, // Length )",
      "Name (\\_S5, Package (0x04) // _S5_: S5 System State { 0x05, 0x05, Zero, Zero })",
      "Device (\\_SB.PWRB)",
      "Device (\\_SB.GEC)",
      "OperationRegion (GDST, SystemMemory, 0x00003FFFFFFED000, One)",
      "Field (GDST, ByteAcc, NoLock, WriteAsZeros) { GDAT, 8 }",
      "Device (\\_SB.GED)",
      'Name (_HID, "ACPI0013"',
      "{ 0x0000000D, }",
      "Device (\\_SB.PRES)",
      "OperationRegion (PRST, SystemMemory, 0x00003FFFFFFEE000, 0x0C)",
      "Offset (0x04), CPEN, 1, CINS, 1, CRMV, 1, CEJ0, 1, Offset (0x05), CCMD, 8",
      "CSEL, 32, Offset (0x08), CDAT, 32",
      "Device (\\_SB.CPUS)",
      "While ((Local0 < 0x02))",
      "Device (C000)",
      "Device (C001)",
      "Device (\\_SB.MHPC)",
    ])
      expect(dsl).toContain(expected);
    expect(dsl).toMatch(/Method \(MSCN, 0, Serialized\) \{ \}/);
    for (const absent of ["TPM2", "FWCF", "C002", "PC02", "MHPR"]) expect(dsl).not.toContain(absent);
  });

  test("what is optional, only where it is", async () => {
    expect(await source({ others: { serial: false } })).not.toContain("COM1");
    const fwCfg = await source({ others: { fwCfg: true } });
    expect(fwCfg).toContain('Name (_HID, "QEMU0002")');
    expect(fwCfg).toContain("IO (Decode16, 0x0510, // Range Minimum 0x0510, // Range Maximum 0x01, // Alignment 0x0C,");
    const tpm = await source({ others: { tpm: true } });
    expect(tpm).toContain('Device (\\TPM2) { Name (_HID, "MSFT0101"');
    expect(tpm).toContain("Memory32Fixed (ReadWrite, 0xFED40000, // Address Base 0x00001000,");
    const memory = await source({ hotplugSize: 0x800_0000 });
    expect(memory).toContain("OperationRegion (MHPR, SystemMemory, 0x00003FFFFFFEF000, 0x18)");
    expect(memory).toContain("OperationRegion (PCST, SystemMemory, 0x00003FFFFFFEE000, 0x10)");
    expect(memory).toContain("Offset (0x14), MEN, 1, MINS, 1, MRMV, 1, MEJ0, 1");
    expect(memory).toContain("Device (M007)");
  });
});
