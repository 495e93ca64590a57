import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { expectPass } from "./expect.ts";
import { resultNumber } from "./process.ts";
import { runOnVmm } from "./vmm.ts";

let folder: string;
let disk: string;

beforeAll(async () => {
  folder = await scratchDir("payload-hostile");
  disk = join(folder, "disk.raw");
  await Bun.write(disk, new Uint8Array(64 << 20));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("a hostile guest", () => {
  const machine = (options = ""): string[] => ["--disk", `path=${disk},image_type=raw${options}`, "--rng"];
  const small = ["--rng", "--rtc", "--watchdog", "--balloon", "size=0,free_page_reporting=on"];

  test.each([1, 2, 3])("registers of every device at every width, seed %d", async (seed) => {
    const outcome = await runOnVmm("hostile_registers", {
      cmdline: `seed=${seed} rounds=1000`,
      console: "null",
      extra: machine(),
    });
    expectPass(outcome);
    expect(resultNumber(outcome, "devices")).toBe(3);
    expect(resultNumber(outcome, "accesses")).toBeGreaterThan(10_000);
  });

  test("registers of balloon, clock, watchdog and pvpanic", async () => {
    const outcome = await runOnVmm("hostile_registers", { cmdline: "rounds=300", extra: [...small, "--pvpanic"] });
    expectPass(outcome);
    expect(resultNumber(outcome, "devices")).toBe(4);
  });

  test("hotplug registers too: the guest may lose a device or a processor, the monitor lives on", async () => {
    const outcome = await runOnVmm("hostile_registers", { cmdline: "rounds=200 eject=1", extra: machine() });
    expect(outcome.exitCode).toBe(0);
    expect(outcome.timedOut).toBeFalse();
  });

  test.each([
    [1, ""],
    [2, ",direct=on"],
  ])("every defect of descriptors and rings on every queue, seed %d%s", async (seed, options) => {
    const outcome = await runOnVmm("hostile_queues", {
      cmdline: `seed=${seed} rounds=20`,
      console: "null",
      extra: machine(options),
    });
    expectPass(outcome);
    expect(resultNumber(outcome, "devices")).toBe(3);
  });

  test("the same on balloon, clock and watchdog", async () => {
    const outcome = await runOnVmm("hostile_queues", { cmdline: "rounds=20", extra: small });
    expectPass(outcome);
    expect(resultNumber(outcome, "devices")).toBe(4);
  });

  test.each([2, 4])("%d vCPUs abuse the same devices at once", async (cpus) => {
    const outcome = await runOnVmm("hostile_race", {
      cmdline: `seed=${cpus} cpus=${cpus} seconds=3`,
      cpus: `boot=${cpus}`,
      console: "null",
      extra: machine(),
    });
    expectPass(outcome);
    expect(resultNumber(outcome, "devices")).toBe(3);
    expect(resultNumber(outcome, "operations")).toBeGreaterThan(1000);
  });

  test("the next boot works", async () => {
    expectPass(await runOnVmm("hello"));
  });
});
