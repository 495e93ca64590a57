import { expect, test } from "bun:test";
import { loadableTables } from "../../../../src/machine/x86_64/acpi/table-loader.ts";
import { buildAcpiTables } from "../../../../src/machine/x86_64/acpi/tables.ts";
import { fwCfgMemoryMap } from "../../../../src/machine/x86_64/memory-map.ts";
import { gpa } from "../../../../src/memory/address.ts";
import { acpiInputs, byteSum, dataView, NUMA_NODES, textAt } from "./machines.ts";

/** Where a firmware might put the two files. */
const PLACES: Readonly<Record<string, bigint>> = { "acpi/rsdp": 0xf_5a40n, "acpi/tables": 0x7ffd_1000n };

const nameAt = (bytes: Uint8Array, at: number): string => textAt(bytes, at, 56).replace(/\0+$/, "");

/** Does what the commands say, as firmware does. */
function load({ rsdp, tables, loader }: ReturnType<typeof loadableTables>): Record<string, Uint8Array> {
  const files: Record<string, Uint8Array> = { "acpi/rsdp": rsdp.slice(), "acpi/tables": tables.slice() };
  const allocated = new Set<string>();
  const view = dataView(loader);
  for (let at = 0; at < loader.length; at += 128) {
    const name = nameAt(loader, at + 4);
    const file = files[name];
    if (file === undefined) throw new Error(`no file ${name}`);
    const word = (offset: number): number => view.getUint32(at + 60 + offset, true);
    switch (view.getUint32(at, true)) {
      case 1:
        expect(word(0)).toBe(4);
        expect(loader[at + 64]).toBe(name === "acpi/rsdp" ? 2 : 1);
        allocated.add(name);
        break;
      case 2: {
        const pointer = view.getUint32(at + 116, true);
        expect(loader[at + 120]).toBe(8);
        expect(allocated.has(nameAt(loader, at + 60))).toBeTrue();
        const target = dataView(file);
        target.setBigUint64(
          pointer,
          target.getBigUint64(pointer, true) + (PLACES[nameAt(loader, at + 60)] ?? 0n),
          true,
        );
        break;
      }
      case 3:
        expect(file[word(0)]).toBe(0);
        file[word(0)] = -byteSum(file.subarray(word(4), word(4) + word(8))) & 0xff;
        break;
      default:
        throw new Error(`command ${view.getUint32(at, true)}`);
    }
  }
  return files;
}

test("firmware that follows the commands has tables that find each other and whose checksums are right", () => {
  const built = buildAcpiTables(acpiInputs({ boot: 3, max: 4, segments: 3, others: { tpm: true, numa: NUMA_NODES } }));
  const { "acpi/rsdp": rsdp = new Uint8Array(), "acpi/tables": tables = new Uint8Array() } = load(
    loadableTables(built),
  );
  const origin = PLACES["acpi/tables"] ?? 0n;
  expect(byteSum(rsdp.subarray(0, 20)) & 0xff).toBe(0);
  expect(byteSum(rsdp) & 0xff).toBe(0);
  for (const { signature, offset, length } of built.tables) {
    const table = tables.subarray(offset - 36, offset - 36 + length);
    expect(textAt(table, 0, 4)).toBe(signature);
    expect(byteSum(table) & 0xff).toBe(0);
  }
  const offsetOf = (wanted: string) => (built.tables.find(({ signature }) => signature === wanted)?.offset ?? 0) - 36;
  const xsdt = offsetOf("XSDT");
  expect(dataView(rsdp).getBigUint64(24, true)).toBe(origin + BigInt(xsdt));
  expect(dataView(tables).getBigUint64(offsetOf("FACP") + 140, true)).toBe(origin);
  const listed = built.tables.slice(1, -1);
  listed.forEach(({ offset }, i) => {
    expect(dataView(tables).getBigUint64(xsdt + 36 + 8 * i, true)).toBe(origin + BigInt(offset - 36));
  });
});

test("the memory map of fw_cfg has the devices first, then the RAM above 1 MiB", () => {
  const map = fwCfgMemoryMap(gpa(0x1_4000_0000)).map(({ gpa: start, size, type }) => [Number(start), size, type]);
  expect(map).toEqual([
    [0, 0xa_0000, 1],
    [0xc000_0000, 0x2800_0000, 2],
    [0xe800_0000, 0x1000_0000, 2],
    [0xfffe_0000, 0x2_0000, 2],
    [0x10_0000, 0xbff0_0000, 1],
    [0x1_0000_0000, 0x4000_0000, 1],
  ]);
});
