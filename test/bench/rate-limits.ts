import { rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { describeOutcome, PayloadError, resultNumber } from "../payload/process.ts";
import { rateCases, rateOptions } from "../payload/rate-cases.ts";
import { runOnVmm } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import type { Figure } from "./figure.ts";

const SECONDS = 10;
const TOLERANCE = 0.05;

/** How close a guest that always wants more gets to a limit of its disks. */
export async function rateLimitFigures(): Promise<Figure[]> {
  const folder = await scratchDir("bench-rate-limits");
  try {
    const disks = ["a.raw", "b.raw"].map((name) => join(folder, name));
    for (const disk of disks) {
      await Bun.write(disk, "");
      await truncate(disk, 64 << 20);
    }
    const figures: Figure[] = [];
    for (const limit of rateCases) {
      const outcome = await runOnVmm("blkbench", rateOptions(limit, SECONDS, disks));
      if (!outcome.passed) throw new PayloadError(`${limit.what}: ${describeOutcome(outcome)}`);
      const ours = resultNumber(outcome, "requests") / SECONDS;
      figures.push({
        what: `rate limit, ${limit.what}`,
        unit: "requests/s",
        ours,
        others: { "the limit": limit.perSecond },
        goal: {
          text: `within ${TOLERANCE * 100} % over ${SECONDS} s`,
          reached: Math.abs(ours / limit.perSecond - 1) <= TOLERANCE,
        },
      });
    }
    return figures;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
