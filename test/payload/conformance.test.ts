import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { expectPass } from "./expect.ts";
import { runOnVmm } from "./vmm.ts";

let folder: string;
let disk: string;

beforeAll(async () => {
  folder = await scratchDir("payload-conformance");
  disk = join(folder, "disk.raw");
  await Bun.write(disk, new Uint8Array(1 << 20));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("the machine as described", () => {
  test.each([
    ["512M", "below=512 above=0"],
    ["5G", "below=3072 above=2048"],
  ])("ports, clock, CMOS, timers, IOAPIC and tables with %s", async (size, cmdline) => {
    const before = Date.now();
    const outcome = await runOnVmm("platform", { cmdline, memory: `size=${size}` });
    expectPass(outcome);
    const { date = "" } = outcome.results[0] ?? {};
    expect(Date.parse(date)).toBeGreaterThanOrEqual(before - 1000);
    expect(Date.parse(date)).toBeLessThanOrEqual(Date.now() + 1000);
  });

  test("the serial port, register by register, and its interrupt", async () => {
    expectPass(await runOnVmm("uart"));
  });

  test("PCI configuration space, BARs and virtio registers", async () => {
    const other = join(folder, "other.raw");
    await Bun.write(other, new Uint8Array(1 << 20));
    const outcome = await runOnVmm("pcispace", {
      cmdline: "order=3224",
      console: "null",
      extra: ["--disk", `path=${disk},image_type=raw`, `path=${other},image_type=raw`, "--rng"],
    });
    expectPass(outcome);
  });
});
