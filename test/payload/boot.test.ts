import { describe, expect, test } from "bun:test";
import { expectPass } from "./expect.ts";
import { resultNumber } from "./process.ts";
import { runOnVmm } from "./vmm.ts";

const MIB = 1 << 20;

describe("boot by PVH", () => {
  test("the first instruction runs, the tables are in place and the guest can end the monitor", async () => {
    const outcome = await runOnVmm("hello", { cmdline: "one=1 two=2" });
    expectPass(outcome);
    expect(outcome.lines[0]?.[0]).toBe("!");
    expect(outcome.lines).toContain("cmdline one=1 two=2");
    expect(outcome.results[0]).toMatchObject({ smbios: "f0000", ebda: "a000", time_source: "kvmclock" });
    for (const table of ["FACP", "APIC", "MCFG"]) {
      expect(outcome.lines.find((line) => line.startsWith(`acpi ${table}=`))).not.toEndWith("=0");
    }
  });

  // All but A0000 to FFFFF is in the memory map as RAM.
  test.each(["64M", "512M", "3G", "5G"])("memory of %s is all there", async (size) => {
    const outcome = await runOnVmm("hello", { memory: `size=${size}` });
    expectPass(outcome);
    const mib = size.endsWith("G") ? Number.parseInt(size, 10) * 1024 : Number.parseInt(size, 10);
    expect(resultNumber(outcome, "ram")).toBe(mib * MIB - 0x60000);
  });

  test("port exits are served", async () => {
    const outcome = await runOnVmm("exits", { cmdline: "count=200 rounds=3" });
    expectPass(outcome);
    expect(resultNumber(outcome, "median_ns")).toBeGreaterThan(0);
  });
});
