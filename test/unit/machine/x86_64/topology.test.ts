import { describe, expect, test } from "bun:test";
import {
  apicIds,
  type CpuTopology,
  cpuidTopology,
  needsX2apic,
  topologyApicId,
  topologyWidths,
} from "../../../../src/machine/x86_64/topology.ts";

/** From threads:cores:dies:packages, as the command line has it. */
function topology(text: string): CpuTopology {
  const [threadsPerCore = 1, coresPerDie = 1, diesPerPackage = 1, packages = 1] = text.split(":").map(Number);
  return { threadsPerCore, coresPerDie, diesPerPackage, packages };
}

describe("APIC IDs", () => {
  test.each([
    ["1:1:1:1", [0, 0, 0]],
    ["2:1:1:1", [1, 1, 1]],
    ["1:3:1:1", [0, 2, 2]],
    ["2:5:3:2", [1, 4, 6]],
    ["1:256:1:1", [0, 8, 8]],
    ["1:257:2:1", [0, 9, 10]],
  ] as const)("field widths of %s are %p", (text, [thread, core, die]) => {
    expect(topologyWidths(topology(text))).toEqual({ thread, core, die });
  });

  test("a topology of powers of two numbers through", () => {
    expect([...apicIds(16, topology("2:2:2:2"))]).toEqual([...Array(16).keys()]);
  });

  test("other counts leave gaps", () => {
    expect([...apicIds(12, topology("2:3:1:2"))]).toEqual([0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
    expect([...apicIds(6, topology("1:1:3:2"))]).toEqual([0, 1, 2, 4, 5, 6]);
  });

  test("are indices where no topology is configured", () => {
    expect([...apicIds(5, undefined)]).toEqual([0, 1, 2, 3, 4]);
  });

  test("CPUID's topology of hot-added vCPUs differs there", () => {
    const described = cpuidTopology(3, undefined);
    expect(described).toEqual(topology("1:3:1:1"));
    expect([0, 1, 2, 3].map((index) => topologyApicId(described, index))).toEqual([0, 1, 2, 4]);
    expect(cpuidTopology(3, topology("2:2:1:1"))).toEqual(topology("2:2:1:1"));
  });

  test.each([
    [254, undefined, false],
    [255, undefined, true],
    [4, "1:1:1:4", false],
    [130, "1:65:1:2", false],
    [195, "1:65:1:3", true],
  ] as const)("%d vCPUs of %s need x2APIC: %s", (count, given, expected) => {
    expect(needsX2apic(count, given === undefined ? undefined : topology(given))).toBe(expected);
  });
});
