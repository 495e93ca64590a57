import { describe, expect, test } from "bun:test";
import type { CpuidEntry } from "../../../../src/hypervisor/hypervisor.ts";
import { type CommonCpuidInputs, commonCpuid } from "../../../../src/machine/x86_64/cpuid/common.ts";
import { vcpuCpuid } from "../../../../src/machine/x86_64/cpuid/vcpu.ts";
import { cpuVendor, physicalAddressBits } from "../../../../src/machine/x86_64/cpuid/vendor.ts";
import type { CpuTopology } from "../../../../src/machine/x86_64/topology.ts";

type Values = readonly [eax: number, ebx: number, ecx: number, edx: number];

const leaf = (leaf: number, [eax, ebx, ecx, edx]: Values, index = 0, flags = 0): CpuidEntry => ({
  function: leaf,
  index,
  flags,
  eax,
  ebx,
  ecx,
  edx,
});
const subleaf = (number: number, index: number, values: Values) => leaf(number, values, index, 1);

const INTEL: Values = [0x1f, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];
const AMD: Values = [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65];
const ONES = 0xffff_ffff;
const ALL: Values = [ONES, ONES, ONES, ONES];

/** What the hypervisor says of a machine: every register that is to change has bits set that must stay. */
const supported = (vendor: Values): CpuidEntry[] => [
  leaf(0, vendor),
  leaf(1, [0x806e9, 0x1234_5678, 0x20, 0x0]),
  subleaf(4, 0, [0x1c00_4121, 1, 2, 3]),
  subleaf(4, 1, [0xfc01_c163, 1, 2, 3]),
  subleaf(4, 2, [0, 0, 0, 0]),
  subleaf(7, 0, ALL),
  subleaf(7, 1, ALL),
  subleaf(0xb, 0, [9, 9, 9, 9]),
  subleaf(0x1d, 0, ALL),
  subleaf(0x1d, 1, ALL),
  subleaf(0x1e, 0, ALL),
  leaf(0x4000_0000, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]),
  leaf(0x4000_0001, [0x0100_007b, 0, 0, 0]),
  leaf(0x8000_0001, [0, 0, 0x4, 0x2810_0800]),
  leaf(0x8000_0002, [1, 2, 3, 4]),
  leaf(0x8000_0005, [0, 0, 0, 0]),
  leaf(0x8000_0006, [0, 0, 6, 0]),
  leaf(0x8000_0007, [0, 0, 0, 0x100]),
  leaf(0x8000_0008, [0x1122_3330, 7, 0x7fff, 8]),
  subleaf(0x8000_001d, 0, [0x0000_4121, 1, 2, 3]),
  subleaf(0x8000_001d, 1, [0x03ff_c143, 1, 2, 3]),
  subleaf(0x8000_001d, 2, [0, 0, 0, 0]),
];

const common = (vendor: Values, inputs: Partial<CommonCpuidInputs> = {}): CpuidEntry[] =>
  commonCpuid({
    supported: supported(vendor),
    physicalAddressBits: 46,
    kvmHyperv: false,
    amx: false,
    tscKhz: undefined,
    ...inputs,
  });

/** From threads:cores:dies:packages. */
function topology(text: string): CpuTopology {
  const [threadsPerCore = 1, coresPerDie = 1, diesPerPackage = 1, packages = 1] = text.split(":").map(Number);
  return { threadsPerCore, coresPerDie, diesPerPackage, packages };
}

const vcpu = (vendor: Values, text: string, index: number, nested = true): CpuidEntry[] =>
  vcpuCpuid({ common: common(vendor), topology: topology(text), index, nested });

function registers(entries: readonly CpuidEntry[], number: number, index = 0): Values | undefined {
  const entry = entries.find((candidate) => candidate.function === number && candidate.index === index);
  return entry === undefined ? undefined : [entry.eax, entry.ebx, entry.ecx, entry.edx];
}

describe("vendor and address width", () => {
  test("vendors", () => {
    expect(cpuVendor([leaf(0, INTEL)])).toBe("intel");
    expect(cpuVendor([leaf(0, AMD)])).toBe("amd");
    expect(cpuVendor([leaf(0, [1, 2, 3, 4])])).toBe("other");
    expect(cpuVendor([])).toBe("other");
  });

  test("the smaller of the host's and the configured width", () => {
    expect(physicalAddressBits(supported(INTEL), 52)).toBe(48);
    expect(physicalAddressBits(supported(INTEL), 46)).toBe(46);
    expect(physicalAddressBits([], 46)).toBe(36);
  });
});

describe("leaves of all vCPUs", () => {
  test("hypervisor, TSC deadline and MTRR", () => {
    expect(registers(common(INTEL), 1)).toEqual([0x806e9, 0x1234_5678, 0x8100_0020, 0x1000]);
  });

  test("AMX is hidden", () => {
    const leaves = common(INTEL);
    expect(registers(leaves, 7, 0)).toEqual([ONES, ONES, ONES, 0xfcbf_ffff]);
    expect(registers(leaves, 7, 1)).toEqual([0xffdf_ffff, ONES, ONES, 0xffff_feff]);
    for (const [number, index] of [
      [0x1d, 0],
      [0x1d, 1],
      [0x1e, 0],
    ] as const)
      expect(registers(leaves, number, index)).toEqual([0, 0, 0, 0]);
  });

  test("AMX is shown", () => {
    const leaves = common(INTEL, { amx: true });
    expect(registers(leaves, 7, 0)).toEqual(ALL);
    expect(registers(leaves, 7, 1)).toEqual(ALL);
    expect(registers(leaves, 0x1d, 1)).toEqual(ALL);
  });

  test("KVM's features gain the extended destination ID", () => {
    expect(registers(common(INTEL), 0x4000_0001)).toEqual([0x0100_807b, 0, 0, 0]);
  });

  test("address widths", () => {
    expect(registers(common(INTEL), 0x8000_0008)).toEqual([0x112e_332e, 7, 0x7fff, 8]);
  });

  test("the host's brand takes the place of the hypervisor's, cut to what fits before the final zero", () => {
    const text = (inputs: { readonly brand?: string }) => {
      const leaves = common(INTEL, inputs);
      const words = [0x8000_0002, 0x8000_0003, 0x8000_0004].flatMap((leaf) => registers(leaves, leaf) ?? []);
      return Buffer.from(Uint32Array.from(words).buffer).toString("latin1");
    };
    expect(text({ brand: "A CPU" })).toBe("A CPU".padEnd(48, "\0"));
    expect(text({ brand: "x".repeat(60) })).toBe(`${"x".repeat(47)}\0`);
    expect(registers(common(INTEL), 0x8000_0002)).toEqual([1, 2, 3, 4]);
  });

  test("timing", () => {
    const leaves = common(INTEL, { tscKhz: 2_500_000 });
    expect(registers(leaves, 0x4000_0000)).toEqual([0x4000_0010, 0x4b4d_564b, 0x564b_4d56, 0x4d]);
    expect(registers(leaves, 0x4000_0010)).toEqual([2_500_000, 1_000_000, 0, 0]);
  });

  test.each([
    ["an unknown frequency", { tscKhz: undefined }],
    [
      "a TSC that is not invariant",
      { tscKhz: 1, supported: supported(INTEL).filter((entry) => entry.function !== 0x8000_0007) },
    ],
  ])("no timing with %s", (_, inputs) => {
    const leaves = common(INTEL, inputs);
    expect(registers(leaves, 0x4000_0010)).toBeUndefined();
    expect(registers(leaves, 0x4000_0000)?.[0]).toBe(0x4000_0001);
  });

  test("Hyper-V replaces KVM", () => {
    const leaves = common(INTEL, { kvmHyperv: true, tscKhz: 2_500_000 });
    const shown = leaves.filter((entry) => entry.function >= 0x4000_0000 && entry.function <= 0x4000_ffff);
    expect(shown.map(({ function: number, eax, ebx, ecx, edx }) => [number, eax, ebx, ecx, edx])).toEqual([
      [0x4000_0000, 0x4000_000a, 0x756e_694c, 0x564b_2078, 0x7648_204d],
      [0x4000_0001, 0x3123_7648, 0, 0, 0],
      [0x4000_0002, 0x3839, 0xa_0000, 0, 0],
      [0x4000_0003, 0xa7f, 0, 0, 0x118],
      [0x4000_0004, 0x62e, 0xfff, 0, 0],
      ...[5, 6, 7, 8, 9, 10].map((n) => [0x4000_0000 + n, 0, 0, 0, 0]),
    ]);
  });

  test("the input is not changed", () => {
    const input = supported(INTEL);
    const before = structuredClone(input);
    vcpuCpuid({ common: common(INTEL, { supported: input }), topology: topology("1:2:1:1"), index: 1, nested: false });
    expect(input).toEqual(before);
  });
});

describe("leaves of one vCPU, Intel", () => {
  // Widths: thread 1, core 1 + 2, die 3 + 1.
  const leaves = vcpu(INTEL, "2:3:2:2", 23);
  const apicId = 0b1_1_10_1;

  test("leaf 1", () => {
    expect(registers(leaves, 1)).toEqual([
      0x806e9,
      ((apicId << 24) | (12 << 16) | 0x5678) >>> 0,
      0x8100_0020,
      0x1000_1000,
    ]);
  });

  test("cache topology", () => {
    // Shared by 2 stays, by 8 (value 7) stays within 2^3 - 1; 2^(4-1) - 1 core IDs.
    expect(registers(leaves, 4, 0)).toEqual([0x1c00_4121, 1, 2, 3]);
    expect(registers(leaves, 4, 1)).toEqual([0x1c01_c163, 1, 2, 3]);
    expect(registers(leaves, 4, 2)).toEqual([0, 0, 0, 0]);
    expect(registers(vcpu(INTEL, "1:1:1:1", 0), 4, 1)).toEqual([0x0000_0163, 1, 2, 3]);
    expect(registers(vcpu(INTEL, "1:200:1:1", 0), 4, 0)?.[0]).toBe(0xfc00_4121);
    expect(registers(leaves, 0x8000_001d, 1)).toEqual([0x03ff_c143, 1, 2, 3]);
  });

  test("extended topology", () => {
    expect(registers(leaves, 0xb, 0)).toEqual([1, 2, 0x100, apicId]);
    expect(registers(leaves, 0xb, 1)).toEqual([4, 12, 0x200, apicId]);
    expect(registers(leaves, 0x1f, 0)).toEqual([1, 2, 0x100, apicId]);
    expect(registers(leaves, 0x1f, 1)).toEqual([3, 6, 0x200, apicId]);
    expect(registers(leaves, 0x1f, 2)).toEqual([4, 12, 0x500, apicId]);
    for (const entry of leaves.filter(({ function: number }) => number === 0xb || number === 0x1f))
      expect(entry.flags).toBe(1);
  });

  test("AMD's leaves stay as they are", () => {
    expect(registers(leaves, 0x8000_001e)).toBeUndefined();
    expect(registers(leaves, 0x8000_0001)).toEqual([0, 0, 4, 0x2810_0800]);
    expect(registers(leaves, 0x8000_0008)?.[2]).toBe(0x7fff);
  });

  test("nested virtualisation off", () => {
    const hidden = vcpu(INTEL, "1:1:1:1", 0, false);
    expect(registers(hidden, 1)?.[2]).toBe(0x8100_0000);
    expect(registers(hidden, 0x8000_0001)?.[2]).toBe(4);
  });
});

describe("leaves of one vCPU, AMD", () => {
  const leaves = vcpu(AMD, "2:2:2:1", 6);

  test("with several processors in a die", () => {
    expect(registers(leaves, 1)).toEqual([0x806e9, 0x0604_0800, 0x8100_0020, 0x1000_1000]);
    expect(registers(leaves, 0x8000_0001)?.[2]).toBe(0x40_0006);
    expect(registers(leaves, 0x8000_0008)).toEqual([0x112e_332e, 7, ((1 + 2 + 3) << 12) | 3, 8]);
    expect(registers(leaves, 0x8000_001e)).toEqual([6, 0x106, 0x104, 0]);
  });

  test("with one", () => {
    const single = vcpu(AMD, "1:1:1:2", 1);
    expect(registers(single, 1)?.[1]).toBe(0x0101_5678);
    expect(registers(single, 0x8000_0001)?.[2]).toBe(4);
    expect(registers(single, 0x8000_0008)?.[2]).toBe(0);
    expect(registers(single, 0x8000_001e)).toEqual([1, 1, 0, 0]);
  });

  test("cache topology: only the sharing", () => {
    expect(registers(leaves, 0x8000_001d, 0)).toEqual([0x0000_4121, 1, 2, 3]);
    expect(registers(leaves, 0x8000_001d, 1)).toEqual([0x0000_c143, 1, 2, 3]);
    expect(registers(leaves, 0x8000_001d, 2)).toEqual([0, 0, 0, 0]);
    expect(registers(leaves, 4, 1)?.[0]).toBe(0xfc01_c163);
  });

  test("extended topology is there as well", () => {
    expect(registers(leaves, 0x1f, 2)).toEqual([3, 8, 0x500, 6]);
  });

  test("nested virtualisation off", () => {
    const hidden = vcpu(AMD, "1:1:1:1", 0, false);
    expect(registers(hidden, 0x8000_0001)?.[2]).toBe(0);
    expect(registers(hidden, 1)?.[2]).toBe(0x8100_0020);
  });
});
