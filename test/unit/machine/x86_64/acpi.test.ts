import { describe, expect, test } from "bun:test";
import { AcpiTablesTooLargeError, buildAcpiTables } from "../../../../src/machine/x86_64/acpi/tables.ts";
import { acpiInputs, byteSum, dataView, gpaAt, NUMA_NODES, pciDevice, tableBytes, textAt } from "./machines.ts";

const HEADER_BYTES = 36;
const CREATOR = "5256415400000001";

/** A table without its header, in hexadecimal. */
const body = (bytes: Uint8Array): string => bytes.subarray(HEADER_BYTES).toHex();

const le = (value: number, bytes: number): string => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out.subarray(0, bytes).toString("hex");
};

const everything = () =>
  buildAcpiTables(
    acpiInputs({
      boot: 3,
      max: 4,
      segments: 3,
      others: {
        tpm: true,
        numa: NUMA_NODES,
        iommu: {
          address: pciDevice(0, 9),
          endpoints: [pciDevice(0, 4), pciDevice(1, 31), pciDevice(2, 7)],
          segments: [2],
        },
      },
    }),
  );

describe("layout", () => {
  test("packs RSDP, DSDT, the listed tables and the XSDT from 0xA0000", () => {
    const built = everything();
    expect(built.base).toBe(built.rsdpGpa);
    expect(Number(built.base)).toBe(0xa_0000);
    expect(built.tables.map(({ signature }) => signature)).toEqual([
      "DSDT",
      "FACP",
      "APIC",
      "MCFG",
      "TPM2",
      "SRAT",
      "SLIT",
      "VIOT",
      "XSDT",
    ]);
    let offset = HEADER_BYTES;
    for (const table of built.tables) {
      expect(table.offset).toBe(offset);
      expect(textAt(built.bytes, offset, 4)).toBe(table.signature);
      offset += table.length;
    }
    expect(offset).toBe(built.bytes.length);
  });

  test("the RSDP points at the XSDT, the XSDT at the tables, the FADT at the DSDT", () => {
    const { base, bytes, tables } = everything();
    const rsdp = bytes.subarray(0, HEADER_BYTES);
    expect(textAt(rsdp, 0, 8)).toBe("RSD PTR ");
    expect(textAt(rsdp, 9, 6)).toBe("CLOUDH");
    expect(rsdp[15]).toBe(2);
    expect(dataView(rsdp).getUint32(16, true)).toBe(0);
    expect(dataView(rsdp).getUint32(20, true)).toBe(36);
    expect(byteSum(rsdp.subarray(0, 20))).toBe(0);
    expect(byteSum(rsdp)).toBe(0);
    const xsdt = bytes.subarray(gpaAt(rsdp, 24) - base);
    expect(textAt(xsdt, 0, 4)).toBe("XSDT");
    const listed = tables.slice(1, -1);
    expect(dataView(xsdt).getUint32(4, true)).toBe(HEADER_BYTES + 8 * listed.length);
    expect(listed.map((_, i) => Number(gpaAt(xsdt, HEADER_BYTES + 8 * i)))).toEqual(
      listed.map(({ offset }) => base + offset),
    );
    const fadt = bytes.subarray(tables[1]?.offset);
    expect(textAt(bytes, gpaAt(fadt, 140) - base, 4)).toBe("DSDT");
  });

  test("every header is right", () => {
    const built = everything();
    const expected: Record<string, { oemTableId: string; revision: number; oemRevision: number }> = {
      DSDT: { oemTableId: "CHDSDT  ", revision: 6, oemRevision: 1 },
      FACP: { oemTableId: "CHFACP  ", revision: 6, oemRevision: 1 },
      APIC: { oemTableId: "CHMADT  ", revision: 5, oemRevision: 1 },
      MCFG: { oemTableId: "CHMCFG  ", revision: 1, oemRevision: 1 },
      TPM2: { oemTableId: "CHTPM2  ", revision: 3, oemRevision: 1 },
      SRAT: { oemTableId: "CHSRAT  ", revision: 3, oemRevision: 1 },
      SLIT: { oemTableId: "CHSLIT  ", revision: 1, oemRevision: 1 },
      VIOT: { oemTableId: "CHVIOT  ", revision: 0, oemRevision: 0 },
      XSDT: { oemTableId: "CHXSDT  ", revision: 1, oemRevision: 1 },
    };
    for (const { signature, length } of built.tables) {
      const table = tableBytes(built, signature);
      const { oemTableId, revision, oemRevision } = expected[signature] ?? {
        oemTableId: "",
        revision: 0,
        oemRevision: 0,
      };
      expect(dataView(table).getUint32(4, true)).toBe(length);
      expect(table[8]).toBe(revision);
      expect(byteSum(table)).toBe(0);
      expect(textAt(table, 10, 6)).toBe("CLOUDH");
      expect(textAt(table, 16, 8)).toBe(oemTableId);
      expect(dataView(table).getUint32(24, true)).toBe(oemRevision);
      expect(table.subarray(28, 36).toHex()).toBe(CREATOR);
    }
  });

  test("tables that would reach SMBIOS are refused", () => {
    const largest = buildAcpiTables(acpiInputs({ boot: 254, segments: 96 }));
    expect(largest.base + largest.bytes.length).toBeLessThanOrEqual(0xf_0000);
    expect(() => buildAcpiTables(acpiInputs({ boot: 1024, segments: 96 }))).toThrow(AcpiTablesTooLargeError);
    expect(() => buildAcpiTables(acpiInputs({ max: 4096 }))).toThrow(AcpiTablesTooLargeError);
  });

  test("machines that cannot be are refused", () => {
    expect(() => buildAcpiTables(acpiInputs({ max: 4097 }))).toThrow(RangeError);
    expect(() => buildAcpiTables(acpiInputs({ boot: 2, max: 1 }))).toThrow(RangeError);
    expect(() => buildAcpiTables({ ...acpiInputs(), pciSegments: [] })).toThrow(RangeError);
    expect(() => buildAcpiTables(acpiInputs({ boot: 3, others: { numa: NUMA_NODES } }))).toThrow(RangeError);
  });
});

describe("FADT", () => {
  const fadt = (nestedHyperV: boolean): Uint8Array =>
    tableBytes(buildAcpiTables(acpiInputs({ others: { nestedHyperV } })), "FACP");

  test("describes a hardware-reduced machine and nothing else", () => {
    const table = fadt(false);
    expect(table.length).toBe(276);
    const expected: Record<number, string> = {
      112: "00051000",
      116: `01080001${le(0x600, 8)}`,
      128: "01",
      131: "03",
      140: le(0xa_0000 + 36, 8),
      208: `01200003${le(0x608, 8)}`,
      244: `01080001${le(0x600, 8)}`,
      256: `01080001${le(0x600, 8)}`,
      268: Buffer.from("CLOUDHYP").toString("hex"),
    };
    for (const [offset, bytes] of Object.entries(expected)) {
      const at = Number(offset);
      expect(table.subarray(at, at + bytes.length / 2).toHex()).toBe(bytes);
      table.fill(0, at, at + bytes.length / 2);
    }
    expect(table.subarray(HEADER_BYTES).every((value) => value === 0)).toBe(true);
  });

  test("names PM1a registers for nested Hyper-V", () => {
    const plain = fadt(false);
    const nested = fadt(true);
    const expected: Record<number, string> = {
      56: le(0x60c, 4),
      64: le(0x610, 4),
      88: "04",
      89: "02",
      148: `01200002${le(0x60c, 8)}`,
      172: `01100002${le(0x610, 8)}`,
    };
    for (const [offset, bytes] of Object.entries(expected)) {
      const at = Number(offset);
      expect(nested.subarray(at, at + bytes.length / 2).toHex()).toBe(bytes);
      nested.fill(0, at, at + bytes.length / 2);
    }
    expect(body(nested)).toBe(body(plain));
  });
});

describe("MADT", () => {
  const x2apic = (apicId: number, flags: number, uid: number): string =>
    `09100000${le(apicId, 4)}${le(flags, 4)}${le(uid, 4)}`;

  test("lists every possible vCPU, the I/O APIC and the serial interrupt", () => {
    const topology = { threadsPerCore: 2, coresPerDie: 1, diesPerPackage: 2, packages: 1 };
    const built = buildAcpiTables(acpiInputs({ boot: 3, max: 4, topology }));
    expect(body(tableBytes(built, "APIC"))).toBe(
      le(0xfee0_0000, 4) +
        le(0, 4) +
        x2apic(0, 3, 0) +
        x2apic(1, 3, 1) +
        x2apic(2, 3, 2) +
        x2apic(3, 2, 3) +
        `010c0000${le(0xfec0_0000, 4)}${le(0, 4)}` +
        "020a0004" +
        le(4, 4) +
        "0000",
    );
  });

  test("takes APIC IDs from the topology", () => {
    const topology = { threadsPerCore: 1, coresPerDie: 3, diesPerPackage: 1, packages: 2 };
    const table = body(tableBytes(buildAcpiTables(acpiInputs({ boot: 6, topology })), "APIC"));
    [0, 1, 2, 4, 5, 6].forEach((apicId, uid) => {
      expect(table.slice(16 + uid * 32, 48 + uid * 32)).toBe(x2apic(apicId, 3, uid));
    });
  });
});

test("MCFG has bus 0 of every segment", () => {
  expect(body(tableBytes(everything(), "MCFG"))).toBe(
    "00".repeat(8) + [0, 1, 2].map((n) => `${le(0xe800_0000 + n * 0x10_0000, 8) + le(n, 2)}000000000000`).join(""),
  );
});

test("TPM2 has a command response buffer", () => {
  expect(body(tableBytes(everything(), "TPM2"))).toBe(`00000000${le(0xfed4_0040, 8)}${le(7, 4)}`);
});

test("SRAT lists nodes by number: memory, room for memory, vCPUs, device", () => {
  const GIB = 0x4000_0000;
  const memory = (node: number, base: number, length: number, flags: number): string =>
    `0128${le(node, 4)}0000${le(base, 8)}${le(length, 8)}${le(0, 4)}${le(flags, 4)}${le(0, 8)}`;
  const cpu = (node: number, apicId: number): string => `02180000${le(node, 4)}${le(apicId, 4)}${le(1, 4)}${le(0, 8)}`;
  const topology = { threadsPerCore: 1, coresPerDie: 1, diesPerPackage: 3, packages: 2 };
  const built = buildAcpiTables(acpiInputs({ boot: 6, segments: 3, topology, others: { numa: NUMA_NODES } }));
  expect(body(tableBytes(built, "SRAT"))).toBe(
    "00".repeat(12) +
      memory(0, 0, GIB, 1) +
      cpu(0, 0) +
      cpu(0, 1) +
      memory(1, GIB, 2 * GIB, 1) +
      memory(1, 4 * GIB, GIB, 1) +
      memory(1, 8 * GIB, 2 * GIB, 3) +
      cpu(1, 2) +
      cpu(1, 4) +
      `05200001${le(5, 4)}0100` +
      "0000" +
      "0303" +
      "0000" +
      "00".repeat(8) +
      le(1, 4) +
      le(0, 4),
  );
});

test("SLIT has given distances, else those of the other direction, else 20", () => {
  expect(body(tableBytes(everything(), "SLIT"))).toBe(
    le(3, 8) + Buffer.from([10, 30, 200, 21, 10, 20, 200, 20, 10]).toString("hex"),
  );
});

test("VIOT has the IOMMU and each endpoint once, whole segments with all their slots", () => {
  const range = (segment: number, device: number): string =>
    "01001800" +
    le(segment * 0x1_0000 + device * 8, 4) +
    le(segment, 2).repeat(2) +
    le(device * 8, 2).repeat(2) +
    le(48, 2) +
    "00".repeat(6);
  const slots = Array.from({ length: 32 }, (_, slot) => slot).filter((slot) => slot !== 7);
  expect(body(tableBytes(everything(), "VIOT"))).toBe(
    le(35, 2) +
      le(48, 2) +
      "00".repeat(8) +
      `03001000${le(0, 2)}${le(72, 2)}${"00".repeat(8)}` +
      range(0, 4) +
      range(1, 31) +
      range(2, 7) +
      slots.map((slot) => range(2, slot)).join(""),
  );
});
