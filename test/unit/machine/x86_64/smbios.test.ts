import { describe, expect, test } from "bun:test";
import { UuidError } from "../../../../src/machine/uuid.ts";
import { buildSmbios, SmbiosError, type SmbiosInputs } from "../../../../src/machine/x86_64/smbios.ts";
import { byteSum, dataView, gpaAt, textAt } from "./machines.ts";

interface Structure {
  readonly type: number;
  readonly handle: number;
  readonly formatted: Uint8Array;
  readonly strings: readonly string[];
}

/** Walks the structures as a reader does: by their lengths and the double NUL after their strings. */
function structures(table: Uint8Array): Structure[] {
  const found: Structure[] = [];
  for (let at = 24; at < table.length; ) {
    const length = table[at + 1] ?? 0;
    const formatted = table.slice(at, at + length);
    const strings: string[] = [];
    let next = at + length;
    while (table[next] !== 0) {
      const end = table.indexOf(0, next);
      strings.push(new TextDecoder().decode(table.subarray(next, end)));
      next = end + 1;
    }
    at = strings.length === 0 ? next + 2 : next + 1;
    found.push({ type: formatted[0] ?? 0, handle: dataView(formatted).getUint16(2, true), formatted, strings });
  }
  return found;
}

const structure = (inputs: SmbiosInputs, type: number): Structure => {
  const found = structures(buildSmbios(inputs)).find((candidate) => candidate.type === type);
  if (found === undefined) throw new Error(`there is no structure of type ${type}`);
  return found;
};

describe("SMBIOS", () => {
  test("has a 64-bit entry point", () => {
    const table = buildSmbios({});
    expect(textAt(table, 0, 5)).toBe("_SM3_");
    expect(byteSum(table.subarray(0, 24))).toBe(0);
    expect(table.subarray(6, 12).toHex()).toBe("180302000100");
    expect(dataView(table).getUint32(12, true)).toBe(table.length - 24);
    expect(Number(gpaAt(table, 16))).toBe(0xf_0018);
  });

  test("says little by default", () => {
    const all = structures(buildSmbios({}));
    expect(all.map(({ type }) => type)).toEqual([0, 1, 127]);
    expect(all.map(({ handle }) => handle)).toEqual([1, 2, 3]);
    const [bios, system, end] = all;
    expect(bios?.formatted.toHex()).toBe("001401000102000000008000000000000000" + "0010");
    expect(bios?.strings).toEqual(["cloud-hypervisor", "0"]);
    expect(system?.formatted.toHex()).toBe(`011b020001020000${"00".repeat(16)}020000`);
    expect(system?.strings).toEqual(["Cloud Hypervisor", "cloud-hypervisor"]);
    expect(end?.formatted.toHex()).toBe("7f040300");
  });

  test("says what it is told", () => {
    const inputs: SmbiosInputs = {
      systemManufacturer: "Maker",
      systemProductName: "Product",
      systemVersion: "1.0",
      systemSerialNumber: "S-1",
      systemSkuNumber: "SKU",
      systemFamily: "Family",
      systemUuid: "00112233-4455-6677-8899-aabbccddeeff",
      chassisAssetTag: "Tag",
      oemStrings: ["one", "", "drei ü"],
    };
    const all = structures(buildSmbios(inputs));
    expect(all.map(({ type, handle }) => [type, handle])).toEqual([
      [0, 1],
      [1, 2],
      [3, 3],
      [11, 4],
      [127, 5],
    ]);
    const [, system, chassis, oem] = all;
    expect(system?.formatted.toHex()).toBe("011b0200" + "01020304" + "33221100554477668899aabbccddeeff" + "020506");
    expect(system?.strings).toEqual(["Maker", "Product", "1.0", "S-1", "SKU", "Family"]);
    expect(chassis?.formatted.toHex()).toBe("03150300" + "0002000001" + "02020203" + "00000000" + "00000000");
    expect(chassis?.strings).toEqual(["Tag"]);
    expect(oem?.formatted.toHex()).toBe("0b05040003");
    expect(oem?.strings).toEqual(["one", " ", "drei ü"]);
  });

  test("numbers only the strings there are", () => {
    const { formatted, strings } = structure({ systemVersion: "", systemFamily: "F" }, 1);
    expect(formatted.subarray(4, 8).toHex()).toBe("01020000");
    expect(formatted.subarray(24).toHex()).toBe("020003");
    expect(strings).toEqual(["Cloud Hypervisor", "cloud-hypervisor", "F"]);
    expect(structures(buildSmbios({ oemStrings: [] })).map(({ type }) => type)).toEqual([0, 1, 127]);
  });

  test("refuses what it cannot hold", () => {
    expect(() => buildSmbios({ systemUuid: "nonsense" })).toThrow(UuidError);
    expect(() => buildSmbios({ systemFamily: "a\0b" })).toThrow(SmbiosError);
    expect(() => buildSmbios({ oemStrings: Array(256).fill("x") })).toThrow(SmbiosError);
    expect(structure({ oemStrings: Array(255).fill("x") }, 11).strings).toHaveLength(255);
    expect(() => buildSmbios({ oemStrings: ["x".repeat(0xf000)] })).toThrow(SmbiosError);
    expect(buildSmbios({ oemStrings: ["x".repeat(0xef00)] }).length).toBeLessThan(0xf000);
  });
});
