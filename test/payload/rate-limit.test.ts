import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { expectPass } from "./expect.ts";
import { bridgedTaps, hasNetworkNamespaces, inNetworkNamespace } from "./netns.ts";
import { PayloadProcess, resultNumber } from "./process.ts";
import { type RateCase, rateCases, rateOptions } from "./rate-cases.ts";
import { runOnVmm, vmmArguments, vmmPath } from "./vmm.ts";

let folder: string;
const disks: string[] = [];

beforeAll(async () => {
  folder = await scratchDir("payload-rate-limit");
  for (const name of ["a.raw", "b.raw"]) {
    await Bun.write(join(folder, name), "");
    await truncate(join(folder, name), 64 << 20);
    disks.push(join(folder, name));
  }
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("a rate limit of disks", () => {
  // How close to the limit a guest gets is measured by the benchmark, on a machine that has nothing else to do.
  const SECONDS = 2;

  test.each(rateCases)("$what: a guest that wants more gets no more, and what it may have", async (limit: RateCase) => {
    const outcome = await runOnVmm("blkbench", rateOptions(limit, SECONDS, disks));
    expectPass(outcome);
    const requests = resultNumber(outcome, "requests");
    const wanted = limit.perSecond * SECONDS;
    // Whatever the bucket holds when the measuring starts may come on top.
    expect(requests).toBeLessThanOrEqual(wanted + limit.bucket + 1);
    expect(requests).toBeGreaterThan(wanted / 4);
    if (limit.disks === 2) {
      const shares = [0, 1].map((disk) => resultNumber(outcome, `disk${disk}_requests`));
      for (const share of shares) expect(share).toBeGreaterThan(requests / 4);
    }
  });
});

describe.if(hasNetworkNamespaces())("a rate limit of a network device", () => {
  const SECONDS = 2;
  const FRAMES = 1000;
  /** Without header. */
  const FRAME_BYTES = 60;

  test.each([
    ["operations, of what it sends", `,ops_size=${FRAMES / 10},ops_refill_time=100`, ""],
    ["bytes, of what it receives", "", `,bw_size=${FRAMES * FRAME_BYTES},bw_refill_time=1000`],
  ])("%s: no more gets through, and what may", async (_what, sender, receiver) => {
    const args = await vmmArguments("netbench", {
      cmdline: `bytes=${FRAME_BYTES} window=250 seconds=${SECONDS}`,
      extra: ["--net", `tap=a${sender}`, `tap=b${receiver}`],
    });
    const command = inNetworkNamespace(bridgedTaps("a", "b"), [vmmPath(), ...args]);
    const outcome = await new PayloadProcess(command, 60_000).outcome();
    expectPass(outcome);
    const rate = resultNumber(outcome, "frames_per_s");
    expect(rate).toBeLessThanOrEqual(FRAMES + FRAMES / SECONDS);
    expect(rate).toBeGreaterThan(FRAMES / 4);
  });
});
