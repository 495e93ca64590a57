import { watch } from "../fuzz/engine/monitor.ts";
import { targetNames } from "../fuzz/engine/registry.ts";
import type { Figure } from "./figure.ts";

const SECONDS = 5;

/** How many inputs a second each target of the fuzzer takes. @throws Error when one of them breaks something */
export async function fuzzFigures(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const target of targetNames()) {
    const outcome = await watch({
      target,
      seed: 1,
      runs: Number.MAX_SAFE_INTEGER,
      seconds: SECONDS,
      inputs: [],
      replay: false,
    });
    if (outcome.kind === "finding") throw new Error(`${target}: ${outcome.error}`);
    figures.push({ what: `fuzzing ${target}`, unit: "inputs a second", ours: outcome.runs / SECONDS, others: {} });
  }
  return figures;
}
