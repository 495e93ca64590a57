import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { expectPass } from "./expect.ts";
import { resultNumber } from "./process.ts";
import { type RateCase, rateCases, rateOptions } from "./rate-cases.ts";
import { runOnVmm } from "./vmm.ts";

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

describe("a rate limit", () => {
  // How close to the limit a guest gets is measured by the benchmark, on a machine with nothing else to do.
  const SECONDS = 2;

  test.each(rateCases)("$what: a guest that wants more gets no more, and not much less", async (limit: RateCase) => {
    const outcome = await runOnVmm("blkbench", rateOptions(limit, SECONDS, disks));
    expectPass(outcome);
    const requests = resultNumber(outcome, "requests");
    const wanted = limit.perSecond * SECONDS;
    // Whatever the bucket holds when the measuring starts may come on top.
    expect(requests).toBeLessThanOrEqual(wanted + limit.bucket + 1);
    expect(requests).toBeGreaterThan(wanted / 2);
    if (limit.disks === 2) {
      const shares = [0, 1].map((disk) => resultNumber(outcome, `disk${disk}_requests`));
      for (const share of shares) expect(share).toBeGreaterThan(requests / 3);
    }
  });
});
