import { describe, expect, test } from "bun:test";
import { buildMpTable, type MpTable } from "../../../../src/machine/x86_64/mptable.ts";
import { buildSmbios } from "../../../../src/machine/x86_64/smbios.ts";
import { apicIds } from "../../../../src/machine/x86_64/topology.ts";
import { byteSum, dataView, textAt } from "./machines.ts";

function mpTable(boot: number, max = boot, smbiosBytes = 100): MpTable {
  const table = buildMpTable(boot, apicIds(max, undefined), smbiosBytes);
  if (table === undefined) throw new Error("there is no MP table");
  return table;
}

describe("MP table", () => {
  test("lies on the 16-byte boundary after SMBIOS, 1 to 16 bytes on", () => {
    for (const [smbiosBytes, base] of [
      [1, 0xf_0010],
      [15, 0xf_0010],
      [16, 0xf_0020],
      [17, 0xf_0020],
      [buildSmbios({}).length, 0xf_0090],
    ] as const)
      expect(Number(mpTable(1, 1, smbiosBytes).base)).toBe(base);
  });

  test("starts with a floating pointer to the table behind it", () => {
    const { base, bytes } = mpTable(2);
    expect(textAt(bytes, 0, 4)).toBe("_MP_");
    expect(dataView(bytes).getUint32(4, true)).toBe(base + 16);
    expect(bytes.subarray(8, 10).toHex()).toBe("0104");
    expect(bytes.subarray(11, 16).toHex()).toBe("0000000000");
    expect(byteSum(bytes.subarray(0, 16))).toBe(0);
  });

  test("has a header that counts its entries", () => {
    const { bytes } = mpTable(3, 8);
    const table = bytes.subarray(16);
    expect(bytes.length).toBe(220 + 20 * 3);
    expect(textAt(table, 0, 4)).toBe("PCMP");
    expect(dataView(table).getUint16(4, true)).toBe(table.length);
    expect(table[6]).toBe(4);
    expect(textAt(table, 8, 20)).toBe("FC      000000000000");
    expect(dataView(table).getUint16(34, true)).toBe(3 + 1 + 1 + 16 + 2);
    expect(dataView(table).getUint32(36, true)).toBe(0xfee0_0000);
    expect(dataView(table).getUint32(40, true)).toBe(0);
    expect(byteSum(table)).toBe(0);
  });

  test("lists boot vCPUs, the ISA bus, the I/O APIC and interrupts", () => {
    const topology = { threadsPerCore: 1, coresPerDie: 3, diesPerPackage: 1, packages: 2 };
    const table = buildMpTable(4, apicIds(6, topology), 100);
    const cpu = (apicId: string, flags: string): string => `00${apicId}14${flags}0006000001020000${"00".repeat(8)}`;
    const pins = Array.from({ length: 16 }, (_, irq) => irq.toString(16).padStart(2, "0"));
    expect(table?.bytes.subarray(16 + 44).toHex()).toBe(
      cpu("00", "03") +
        cpu("01", "01") +
        cpu("02", "01") +
        cpu("04", "01") +
        `0100${Buffer.from("ISA   ").toString("hex")}` +
        "02ff14010000c0fe" +
        pins.map((irq) => `0300000000${irq}ff${irq}`).join("") +
        "0403000000000000" +
        "040100000000ff01",
    );
  });

  test("is left out where an APIC ID does not fit", () => {
    expect(mpTable(254).bytes.length).toBe(220 + 20 * 254);
    expect(buildMpTable(1, apicIds(255, undefined), 100)).toBeUndefined();
    const sparse = { threadsPerCore: 1, coresPerDie: 129, diesPerPackage: 1, packages: 2 };
    expect(buildMpTable(1, apicIds(258, sparse), 100)).toBeUndefined();
  });

  test("is left out where it would reach the page of the VM generation identifier", () => {
    const fits = 0xf000 - 240 - 16;
    expect(buildMpTable(1, [0], fits)).toBeDefined();
    expect(buildMpTable(1, [0], fits + 16)).toBeUndefined();
  });
});
