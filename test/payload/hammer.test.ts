import { expect, test } from "bun:test";
import { expectPass } from "./expect.ts";
import { resultNumber } from "./process.ts";
import { runOnVmm } from "./vmm.ts";

test.each([
  ["xapic", 10],
  ["x2apic", 2],
])("four vCPUs (%s) hammer serial, PCI and IOAPIC for %d s: nothing lost, nothing torn", async (apic, seconds) => {
  const cmdline = `cpus=4 seconds=${seconds} apic=${apic}`;
  const outcome = await runOnVmm("hammer", { cmdline, cpus: "boot=4", extra: ["--rng"] });
  expectPass(outcome);
  expect(resultNumber(outcome, "cpus")).toBe(4);
  // Many times as many where nothing else has the processors.
  expect(resultNumber(outcome, "operations")).toBeGreaterThan(50 * seconds);
});
