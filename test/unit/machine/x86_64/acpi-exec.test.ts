import { describe, expect, test } from "bun:test";
import { buildAcpiTables } from "../../../../src/machine/x86_64/acpi/tables.ts";
import { type Interpreter, interpreter } from "../acpi/acpica.ts";
import { acpiInputs, type MachineSketch, NUMA_NODES, tableBytes } from "./machines.ts";

/** Two of four vCPUs at boot with APIC IDs 0, 1, 4 and 5; three segments; memory hotplug; NUMA; TPM. */
const FULL: MachineSketch = {
  boot: 2,
  max: 4,
  topology: { threadsPerCore: 2, coresPerDie: 1, diesPerPackage: 2, packages: 1 },
  segments: 3,
  ramEnd: 0x1_4000_0000,
  hotplugSize: 0x1_0000_0000,
  others: { numa: NUMA_NODES, tpm: true, fwCfg: true },
};

const of = (sketch: MachineSketch, fill = 0): Interpreter =>
  interpreter(tableBytes(buildAcpiTables(acpiInputs(sketch)), "DSDT"), fill);

const evaluateOne = async (machine: Interpreter, expression: string): Promise<string> => {
  const [answer = ""] = await machine.evaluate(expression);
  return answer;
};

/** The bytes of a buffer as acpiexec prints it. */
function bufferBytes(answer: string): string {
  const dump = answer.slice(answer.indexOf("[Buffer]"));
  return [...dump.matchAll(/^.*?[0-9A-F]{4}: ((?:[0-9A-F]{2} )+)/gm)]
    .map(([, row = ""]) => row.replaceAll(" ", ""))
    .join("")
    .toLowerCase();
}

const integerValue = (answer: string): number =>
  Number.parseInt(/\[Integer\] = ([0-9A-F]+)/.exec(answer)?.[1] ?? "", 16);

/** All integers of a package, in order. */
const integers = (answer: string): number[] =>
  [...answer.matchAll(/\[Integer\] = ([0-9A-F]+)/g)].map(([, digits = ""]) => Number.parseInt(digits, 16));

/** Register accesses: "W address value bits" and "R address bits", in order. */
const accesses = (answer: string): string[] =>
  [...answer.matchAll(/SystemMemory (Read |Write): Val (\w+) Addr (\w+) BitWidth (\w+)/g)].map(
    ([, direction, value = "", address = "", bits = ""]) => {
      const width = Number.parseInt(bits, 16);
      return direction === "Write"
        ? `W ${address} ${Number.parseInt(value, 16).toString(16)} ${width}`
        : `R ${address} ${width}`;
    },
  );

/** Resource descriptors in the order of their bytes, by ACPI 6.5 section 6.4. */
const word = (value: number): string => Buffer.from([value & 0xff, value >>> 8]).toString("hex");
const dword = (value: number): string => word(value & 0xffff) + word(value >>> 16);
const qword = (value: number): string => dword(value >>> 0) + dword(Math.floor(value / 2 ** 32));
const qwordMemory = (base: number, length: number, flags = 1): string =>
  `8a2b00000c0${flags}${qword(0)}${qword(base)}${qword(base + length - 1)}${qword(0)}${qword(length)}`;
const memory32 = (base: number, length: number): string => `86090001${dword(base)}${dword(length)}`;
const END_TAG = "7900";
const BUS_0 = "880d00020c000000000000000000" + "0100";

/** The register blocks of FULL, as acpiexec prints addresses: their low 32 bits. */
const MHPC = "FFFEF000";
const at = (block: string, offset: number): string =>
  (Number.parseInt(block, 16) + offset).toString(16).toUpperCase().padStart(8, "0");
const PHPR = "FFFEE000";
const PRES = "FFFED000";

test("the VM generation identifier: where it is, and what drivers know it by", async () => {
  const machine = of({});
  expect(integers(await evaluateOne(machine, "\\_SB.VGEN.ADDR"))).toEqual([0xf_f000, 0]);
  expect(await evaluateOne(machine, "\\_SB.VGEN._CID")).toMatch(/"VM_GEN_COUNTER"[\s\S]*"VMGENCTR"/i);
});

describe("resources", () => {
  test("of a machine with one segment: ports, ECAM, both apertures", async () => {
    const machine = of({});
    const io = "4701f80cf80c0108";
    const lowPorts = "880d00010c030000" + "0000f70c0000f80c";
    const highPorts = "880d00010c030000" + "000dffff000000f3";
    expect(bufferBytes(await evaluateOne(machine, "\\_SB.PC00._CRS"))).toBe(
      BUS_0 +
        io +
        memory32(0xe800_0000, 0x10_0000) +
        qwordMemory(0xc000_0000, 0x2800_0000) +
        qwordMemory(0x1_0000_0000, 2 ** 46 - 0x11_0000 - 0x1_0000_0000) +
        lowPorts +
        highPorts +
        END_TAG,
    );
  });

  test("of other segments have no ports", async () => {
    const inputs = acpiInputs(FULL);
    const segment = inputs.pciSegments[2];
    if (segment === undefined) throw new Error("the machine has three segments");
    expect(bufferBytes(await evaluateOne(of(FULL), "\\_SB.PC02._CRS"))).toBe(
      BUS_0 +
        memory32(0xe820_0000, 0x10_0000) +
        qwordMemory(segment.mmio32.base, segment.mmio32.length) +
        qwordMemory(segment.mmio64.base, segment.mmio64.length) +
        END_TAG,
    );
  });

  test("leave out an aperture that is empty", async () => {
    const inputs = acpiInputs({});
    const [segment] = inputs.pciSegments;
    if (segment === undefined) throw new Error("the machine has a segment");
    const empty = { ...segment, mmio64: { ...segment.mmio64, length: 0 } };
    const tables = buildAcpiTables({ ...inputs, pciSegments: [empty] });
    const crs = bufferBytes(await evaluateOne(interpreter(tableBytes(tables, "DSDT")), "\\_SB.PC00._CRS"));
    expect(crs).toContain(qwordMemory(0xc000_0000, 0x2800_0000));
    expect(crs.split("8a2b00").length).toBe(2);
  });

  test("of controllers are their register blocks", async () => {
    const top = 2 ** 46 - 0x1_0000;
    const [mbrd = "", phpr = "", pres = "", mhpc = "", ged = "", com1 = "", tpm = "", fwcf = ""] = await of(
      FULL,
    ).evaluate(
      ..."MBRD PHPR PRES MHPC GED_ COM1".split(" ").map((name) => `\\_SB.${name}._CRS`),
      "\\TPM2._CRS",
      "\\_SB.FWCF._CRS",
    );
    expect(bufferBytes(mbrd)).toBe(
      memory32(0xe800_0000, 0x10_0000) + memory32(0xe810_0000, 0x10_0000) + memory32(0xe820_0000, 0x10_0000) + END_TAG,
    );
    expect(bufferBytes(mhpc)).toBe(qwordMemory(top - 0x1000, 0x18) + END_TAG);
    expect(bufferBytes(phpr)).toBe(qwordMemory(top - 0x2000, 0x10) + END_TAG);
    expect(bufferBytes(pres)).toBe(qwordMemory(top - 0x3000, 0x0c) + END_TAG);
    expect(bufferBytes(ged)).toBe(`890600${"03"}01${dword(13)}${END_TAG}`);
    expect(bufferBytes(com1)).toBe(`890600${"03"}01${dword(4)}4701f803f8030008${END_TAG}`);
    expect(bufferBytes(tpm)).toBe(memory32(0xfed4_0000, 0x1000) + END_TAG);
    expect(bufferBytes(fwcf)).toBe(`470110051005010c${END_TAG}`);
  });
});

describe("host bridges", () => {
  test("identify themselves and route INTA of slot n to GSI 5 + n mod 8", async () => {
    const names = ["_ADR", "_SEG", "_UID", "_CCA", "SUPP", "_PXM"];
    const answers = await of(FULL).evaluate(...names.map((name) => `\\_SB.PC01.${name}`));
    expect(answers.map(integerValue)).toEqual([0, 1, 1, 1, 0, 1]);
    const prt = integers(await evaluateOne(of(FULL), "\\_SB.PC01._PRT"));
    expect(prt).toEqual(Array.from({ length: 32 }, (_, n) => [n * 0x1_0000 + 0xffff, 0, 0, 5 + (n % 8)]).flat());
  });

  test("are in the node of their segment, segment 0 always in node 0", async () => {
    const answers = await of(FULL).evaluate(...["PC00", "PC01", "PC02"].map((name) => `\\_SB.${name}._PXM`));
    expect(answers.map(integerValue)).toEqual([0, 1, 5]);
  });

  test("ask to keep the PCI configuration of boot", async () => {
    const pci = "(D0 37 C9 E5 53 35 7A 4D 91 17 EA 4D 19 C3 43 4D)";
    const other = "(D1 37 C9 E5 53 35 7A 4D 91 17 EA 4D 19 C3 43 4D)";
    const [functions = "", keep = "", unknown = "", foreign = ""] = await of({}).evaluate(
      `\\_SB.PC00._DSM ${pci} 1 0 [ 0 ]`,
      `\\_SB.PC00._DSM ${pci} 1 5 [ 0 ]`,
      `\\_SB.PC00._DSM ${pci} 1 6 [ 0 ]`,
      `\\_SB.PC00._DSM ${other} 1 0 [ 0 ]`,
    );
    expect(bufferBytes(functions)).toBe("21");
    expect(integerValue(keep)).toBe(0);
    expect(bufferBytes(unknown)).toBe("00");
    expect(bufferBytes(foreign)).toBe("00");
  });

  test("give each slot its number and address, and eject by segment, then slot", async () => {
    const [number = "", address = "", eject = ""] = await of(FULL).evaluate(
      "\\_SB.PC02.S031._SUN",
      "\\_SB.PC02.S031._ADR",
      "\\_SB.PC02.S031._EJ0 1",
    );
    expect(integerValue(number)).toBe(31);
    expect(integerValue(address)).toBe(0x1f_0000);
    expect(accesses(eject)).toEqual([`W ${at(PHPR, 12)} 2 32`, `W ${at(PHPR, 8)} 80000000 32`]);
  });
});

describe("PCI hotplug", () => {
  test("reads both bitmaps of every segment and reports their slots", async () => {
    const scan = await evaluateOne(of(FULL), "\\_SB.PHPR.PSCN");
    expect(accesses(scan)).toEqual(
      [0, 1, 2].flatMap((segment) => [`W ${at(PHPR, 12)} ${segment} 32`, `R ${at(PHPR, 0)} 32`, `R ${at(PHPR, 4)} 32`]),
    );
    const slots = ["S001", "S009", "S017", "S025"];
    expect(await of({}, 0x02).notifications("\\_SB.PHPR.PSCN", 8)).toEqual(
      slots.flatMap((slot) => [`${slot} 0x01`, `${slot} 0x03`]),
    );
  });
});

describe("CPUs", () => {
  test("are named, numbered, placed and described", async () => {
    const answers = await of(FULL).evaluate(
      ...["C000", "C001", "C002", "C003"].flatMap((cpu) => [`\\_SB.CPUS.${cpu}._UID`, `\\_SB.CPUS.${cpu}._PXM`]),
    );
    expect(answers.map(integerValue)).toEqual([0, 0, 1, 0, 2, 1, 3, 1]);
    const mats = await of(FULL).evaluate("\\_SB.CPUS.C001._MAT", "\\_SB.CPUS.C003._MAT");
    expect(mats.map(bufferBytes)).toEqual([
      `09100000${dword(1)}${dword(1)}${dword(1)}`,
      `09100000${dword(3)}${dword(1)}${dword(3)}`,
    ]);
  });

  test("have three upper-case hexadecimal digits", async () => {
    const [last = ""] = await of({ boot: 1, max: 0x1ac }).evaluate("\\_SB.CPUS.C1AB._UID");
    expect(integerValue(last)).toBe(0x1ab);
  });

  test("are present where the enabled bit is set", async () => {
    const absent = await evaluateOne(of(FULL), "\\_SB.CPUS.C002._STA");
    expect(accesses(absent)).toEqual([`W ${PRES} 2 32`, `R ${at(PRES, 4)} 8`]);
    expect(integerValue(absent)).toBe(0);
    expect(integerValue(await evaluateOne(of(FULL, 0x01), "\\_SB.CPUS.CSTA 1"))).toBe(0x0f);
  });

  test("are ejected by number", async () => {
    const eject = await evaluateOne(of(FULL, 0xff), "\\_SB.CPUS.C003._EJ0 1");
    expect(accesses(eject)).toEqual([`W ${PRES} 3 32`, `W ${at(PRES, 4)} 8 8`]);
  });

  test("that are inserted are acknowledged and reported", async () => {
    const status = at(PRES, 4);
    const scan = await evaluateOne(of(FULL, 0x02), "\\_SB.CPUS.CSCN");
    expect(accesses(scan)).toEqual(
      [0, 1, 2, 3].flatMap((cpu) => [`W ${PRES} ${cpu} 32`, `R ${status} 8`, `W ${status} 2 8`, `R ${status} 8`]),
    );
    expect(await of(FULL, 0x02).notifications("\\_SB.CPUS.CSCN", 4)).toEqual(
      ["C000", "C001", "C002", "C003"].map((cpu) => `${cpu} 0x01`),
    );
  });

  test("that are to go are acknowledged and reported", async () => {
    const status = at(PRES, 4);
    const scan = await evaluateOne(of(FULL, 0x04), "\\_SB.CPUS.CSCN");
    expect(accesses(scan)).toEqual(
      [0, 1, 2, 3].flatMap((cpu) => [`W ${PRES} ${cpu} 32`, `R ${status} 8`, `R ${status} 8`, `W ${status} 4 8`]),
    );
    expect(await of(FULL, 0x04).notifications("\\_SB.CPUS.CSCN", 4)).toEqual(
      ["C000", "C001", "C002", "C003"].map((cpu) => `${cpu} 0x03`),
    );
  });
});

describe("memory devices", () => {
  test("take their range from the registers, with carry", async () => {
    const crs = await evaluateOne(of(FULL, 0xc0), "\\_SB.MHPC.M003._CRS");
    expect(accesses(crs)).toEqual([
      `W ${MHPC} 3 32`,
      `R ${at(MHPC, 4)} 32`,
      `R ${MHPC} 32`,
      `R ${at(MHPC, 12)} 32`,
      `R ${at(MHPC, 8)} 32`,
    ]);
    // The selector and the base share a place: bits 31:0 of the base read back as the slot.
    const base = "03000000c0c0c0c0";
    const length = "c0c0c0c0c0c0c0c0";
    const max = "c2c0c0c080818181";
    expect(bufferBytes(crs)).toBe(`8a2b00000c03${qword(0)}${base}${max}${qword(0)}${length}${END_TAG}`);
  });

  test("are present where the enabled bit is set", async () => {
    const absent = await evaluateOne(of(FULL), "\\_SB.MHPC.M007._STA");
    expect(accesses(absent)).toEqual([`W ${MHPC} 7 32`, `R ${at(MHPC, 20)} 8`]);
    expect(integerValue(absent)).toBe(0);
    expect(integerValue(await evaluateOne(of(FULL, 0x01), "\\_SB.MHPC.M007._STA"))).toBe(0x0f);
  });

  test("that are inserted are acknowledged and reported", async () => {
    const status = at(MHPC, 20);
    const scan = await evaluateOne(of(FULL, 0x02), "\\_SB.MHPC.MSCN");
    expect(accesses(scan)).toEqual(
      Array.from({ length: 8 }, (_, slot) => [
        `W ${MHPC} ${slot} 32`,
        `R ${status} 8`,
        `W ${status} 2 8`,
        `R ${status} 8`,
      ]).flat(),
    );
    expect(await of(FULL, 0x02).notifications("\\_SB.MHPC.MSCN", 8)).toEqual(
      Array.from({ length: 8 }, (_, slot) => `M00${slot} 0x01`),
    );
  });

  test("are not there without memory hotplug, but their scan is", async () => {
    expect(accesses(await evaluateOne(of({}), "\\_SB.MHPC.MSCN"))).toEqual([]);
  });
});

describe("events", () => {
  const event = (fill: number): Promise<string> => evaluateOne(of(FULL, fill), "\\_SB.GED_._EVT 13");
  const GEC = "FFFEC000";

  test("are read once and passed on by bit", async () => {
    expect(accesses(await event(0))).toEqual([`R ${GEC} 8`]);
    const blocks = async (fill: number): Promise<string[]> => {
      const touched = accesses(await event(fill)).map((access) => access.split(" ")[1]?.slice(0, 5) ?? "");
      return [...new Set(touched)];
    };
    expect(await blocks(0x01)).toEqual(["FFFEC", "FFFED"]);
    expect(await blocks(0x02)).toEqual(["FFFEC", "FFFEF"]);
    expect(await blocks(0x04)).toEqual(["FFFEC", "FFFEE"]);
    expect(await blocks(0x08)).toEqual(["FFFEC"]);
    expect(await blocks(0x07)).toEqual(["FFFEC", "FFFED", "FFFEF", "FFFEE"]);
  });

  test("the power button notifies its device", async () => {
    expect(await of({}, 0x08).notifications("\\_SB.GED_._EVT 13", 1)).toEqual(["PWRB 0x80"]);
    expect(await of({}, 0x10).notifications("\\_SB.GED_._EVT 13", 1)).toEqual(["VGEN 0x80"]);
  });
});

test("soft off is sleep type 5", async () => {
  expect(integers(await evaluateOne(of({}), "\\_S5_"))).toEqual([5, 5, 0, 0]);
});
