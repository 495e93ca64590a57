import { expect, test } from "bun:test";
import { expectPass } from "./expect.ts";
import { resultNumber } from "./process.ts";
import { runOnVmm } from "./vmm.ts";

test("four vCPUs hammer one serial port, one PCI function and one IOAPIC: nothing lost, nothing torn", async () => {
  const outcome = await runOnVmm("hammer", { cmdline: "cpus=4 seconds=10", cpus: "boot=4", extra: ["--rng"] });
  expectPass(outcome);
  expect(resultNumber(outcome, "cpus")).toBe(4);
  expect(resultNumber(outcome, "operations")).toBeGreaterThan(1000);
});
