import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { Api, residentMib } from "./api.ts";
import { expectPass } from "./expect.ts";
import { runOnVmm, startOnVmm } from "./vmm.ts";

const MIB = 1 << 20;
const RAM_MIB = 512;
const GIVEN_MIB = 256;
/** What a monitor may need more at one time than at another. */
const SLACK_MIB = 24;

let folder: string;

beforeAll(async () => {
  folder = await scratchDir("payload-balloon");
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("lists of pages: those given are gone, all others stay", () => {
  test.each([
    ["", "0", ""],
    ["shared=on", "0", ",deflate_on_oom=on"],
    ["", "4", ",deflate_on_oom=on,free_page_reporting=on"],
    ["shared=on", "0x22", ",free_page_reporting=on,statistics=on"],
  ])("memory %p, features %s", async (memory, features, options) => {
    const bits = Number(features) | (options.includes("oom") ? 4 : 0) | (options.includes("reporting") ? 32 : 0);
    const outcome = await runOnVmm("balloon", {
      cmdline: `features=${bits} pages=${(64 * MIB) / 4096}`,
      memory: ["size=128M", memory].filter((text) => text !== "").join(","),
      extra: ["--balloon", `size=64M${options}`],
    });
    expectPass(outcome);
  });
});

describe("vm.resize", () => {
  test.each(["", ",shared=on"])("memory%s comes back to the host and goes to the guest again", async (memory) => {
    const socket = join(folder, `api${memory.length}`);
    const machine = await startOnVmm("balloon", {
      cmdline: `size=${GIVEN_MIB}M`,
      memory: `size=${RAM_MIB}M${memory}`,
      extra: ["--balloon", "size=0", "--api-socket", `path=${socket}`],
    });
    await machine.nextLine((line) => line === "GIVEN 0");
    using api = new Api(socket);
    const full = await residentMib(machine.pid);
    expect(full).toBeGreaterThan(GIVEN_MIB);
    expect(api.info.memory_actual_size).toBe(RAM_MIB * MIB);

    api.put("vm.resize", { desired_balloon: GIVEN_MIB * MIB });
    await machine.nextLine((line) => line === `GIVEN ${(GIVEN_MIB * MIB) / 4096}`);
    expect(await residentMib(machine.pid)).toBeLessThan(full - GIVEN_MIB + SLACK_MIB);
    expect(api.info).toMatchObject({
      memory_actual_size: (RAM_MIB - GIVEN_MIB) * MIB,
      config: { balloon: { size: GIVEN_MIB * MIB } },
    });

    for (const size of [RAM_MIB * MIB, 2 ** 60]) {
      const { status, body } = api.ask("PUT", "vm.resize", { desired_balloon: size });
      expect(status).toBe(500);
      expect(body).toContain("not below the guest's RAM");
    }
    api.put("vm.pause");
    api.put("vm.resize", { desired_balloon: 100 * MIB + 4095 });
    api.put("vm.resume");
    await machine.nextLine((line) => line === `GIVEN ${(100 * MIB) / 4096}`);
    expect(api.info.memory_actual_size).toBe((RAM_MIB - 100) * MIB);
    api.put("vm.resize", { desired_balloon: 0 });
    expectPass(await machine.outcome());
  });

  test("a VM without a balloon says so", async () => {
    const socket = join(folder, "none");
    const machine = await startOnVmm("powerbutton", { extra: ["--api-socket", `path=${socket}`] });
    await machine.nextLine((line) => line.startsWith("READY"));
    using api = new Api(socket);
    const { status, body } = api.ask("PUT", "vm.resize", { desired_balloon: MIB });
    expect(status).toBe(500);
    expect(body).toContain("the VM has no balloon");
    machine.signal("SIGTERM");
    await machine.outcome();
  });
});

test("vm.counters has the statistics that the guest tells when it is asked", async () => {
  const socket = join(folder, "statistics");
  const machine = await startOnVmm("balloon", {
    cmdline: "size=1M features=2",
    extra: ["--balloon", "size=0,statistics=on", "--api-socket", `path=${socket}`],
  });
  await machine.nextLine((line) => line === "GIVEN 0");
  using api = new Api(socket);
  const counters = () => JSON.parse(api.ask("GET", "vm.counters").body).__balloon;
  const first = counters();
  // The guest tells 1000 more than a statistic's tag, and once, too late in its buffer to be looked at, something else.
  expect(first).toMatchObject({ swap_in: 1000, free_memory: 1004, total_memory: 1005, direct_reclaims: 1015 });
  for (let i = 1; i <= 5; i++) expect(counters().reports).toBe(first.reports + i);
  api.put("vm.pause");
  expect(counters().reports).toBe(first.reports + 5);
  api.put("vm.resume");
  expect(counters().free_memory).toBe(1004);
  api.put("vm.resize", { desired_balloon: MIB });
  await machine.nextLine((line) => line === `GIVEN ${MIB / 4096}`);
  api.put("vm.resize", { desired_balloon: 0 });
  expectPass(await machine.outcome());
});
