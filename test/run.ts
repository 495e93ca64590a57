// npm test [check|unit|fuzz|payload|landlock|lab ...]: sets up what the parts need, builds once, runs them, and ends with the line
// "N passed, N failed, N skipped", before which each failure is told once more. Without names: unit, fuzz, payload, landlock and lab.

import { addTallies, failure, formatTally, NOTHING, type Tally } from "./run/junit.ts";
import { build, PARTS, type Part } from "./run/parts.ts";
import { SetupError } from "./setup/exec.ts";

const DEFAULT_PARTS = ["unit", "fuzz", "payload", "landlock", "lab"];

function chosenParts(names: readonly string[]): Part[] {
  return names.map((name) => {
    const part = PARTS.find((candidate) => candidate.name === name);
    if (part === undefined) {
      console.error(`no part ${name}; there are: ${PARTS.map((candidate) => candidate.name).join(", ")}`);
      process.exit(2);
    }
    return part;
  });
}

async function runPart(part: Part): Promise<Tally> {
  const started = performance.now();
  console.log(`\n== ${part.name}`);
  const tally = await part.run().catch((error: unknown) => {
    console.error(error instanceof SetupError ? error.message : error);
    return failure(`${part.name}: ${error instanceof Error ? error.message : error}`);
  });
  console.log(`== ${part.name}: ${formatTally(tally)} in ${Math.round((performance.now() - started) / 1000)} s`);
  return tally;
}

const named = process.argv.slice(2);
const parts = chosenParts(named.length > 0 ? named : DEFAULT_PARTS);
let total = NOTHING;
if (parts.some((part) => part.needsBuild) && !(await build())) {
  console.error("the build failed");
  total = addTallies(total, failure("the build"));
}
for (const part of parts) total = addTallies(total, await runPart(part));
process.exitCode = total.failed > 0 ? 1 : 0;
for (const what of total.failures) console.log(`\nfailed: ${what}`);
console.log(`\n${formatTally(total)}`);
