import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { expectPass } from "./expect.ts";
import { runOnVmm, startOnVmm } from "./vmm.ts";

let folder: string;

beforeAll(async () => {
  folder = await scratchDir("payload-devices");
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test("virtio-rng fills buffers with noise", async () => {
  expectPass(await runOnVmm("rng", { extra: ["--rng", "src=/dev/urandom"] }));
});

test("virtio-rng behind a rate limit fills all buffers, in the time it takes", async () => {
  // The guest asks for 64 KiB more than the bucket holds.
  const refillMs = 1500;
  const limits = `bw_size=65536,bw_refill_time=${refillMs},ops_size=1000,ops_refill_time=1`;
  const outcome = await runOnVmm("rng", { extra: ["--rng", `src=/dev/urandom,${limits}`] });
  expectPass(outcome);
  expect(outcome.elapsedMs).toBeGreaterThan(refillMs);
});

describe("virtio-console", () => {
  test("input, output and a new window size on a terminal", async () => {
    const machine = await startOnVmm("console", { console: "tty", serial: "off", terminal: true });
    const ready = await machine.nextLine((line) => line.startsWith("READY"));
    expect(ready).toBe("READY size=80,25");
    machine.write("hello\n");
    await machine.nextLine((line) => line === "hello");
    machine.resize(132, 43);
    machine.signal("SIGWINCH");
    await machine.nextLine((line) => line === "SIZE 132 43");
    const long = "0123456789".repeat(50);
    machine.write(`${long}\n`);
    await machine.nextLine((line) => line === long);
    machine.write("quit\n");
    expectPass(await machine.outcome());
  });

  test("output to a file", async () => {
    const file = join(folder, "console.txt");
    const machine = await startOnVmm("console", { cmdline: "wait=1", console: `file=${file}` });
    const outcome = await machine.outcome();
    // Nobody types into a file, so the guest gives up after its greeting.
    expect(outcome.failures).toEqual(["no input"]);
    expect(outcome.exitCode).toBe(0);
    expect(await Bun.file(file).text()).toBe("READY size=0,0\n");
  });
});
