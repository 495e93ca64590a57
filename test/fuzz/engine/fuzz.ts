import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, watch } from "./monitor.ts";

const CORPUS = join(import.meta.dir, "../corpus");
const FINDINGS = join(import.meta.dir, "../findings");
/** Files that `grow` leaves in a target's corpus. */
const CORPUS_FILES = 8;

/** How a target is to be fuzzed. */
export interface FuzzWish {
  readonly runs: number;
  readonly seed: number;
  readonly seconds: number;
  /** A file to be tried alone. */
  readonly input: string | undefined;
  /** Put the inputs that reach most into the corpus. */
  readonly grow: boolean;
}

/** What came of it, for people. */
export interface FuzzResult {
  readonly clean: boolean;
  readonly text: string;
}

/** Fuzzes a target. What is found is saved. */
export async function fuzz(target: string, { runs, seed, seconds, input, grow }: FuzzWish): Promise<FuzzResult> {
  const started = performance.now();
  const inputs = input === undefined ? corpusOf(target) : [input];
  const outcome = await watch({ target, seed, runs, seconds, inputs, replay: input !== undefined });
  if (outcome.kind === "finding") return { clean: false, text: saved(target, seed, outcome) };
  const took = (performance.now() - started) / 1000;
  const rate = Math.round(outcome.runs / took);
  if (grow) growCorpus(target, outcome.kept);
  const { places } = outcome;
  return {
    clean: true,
    text: `${target}: ${outcome.runs} runs, seed ${seed}, ${places} places, ${took.toFixed(1)} s, ${rate}/s`,
  };
}

function corpusOf(target: string): string[] {
  const folder = join(CORPUS, target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((file) => join(folder, file));
}

/** Saves what was found. @returns what it is, and how to see it again */
function saved(target: string, seed: number, { run, error, input, repeats }: Outcome & { kind: "finding" }): string {
  mkdirSync(FINDINGS, { recursive: true });
  const path = join(FINDINGS, `${target}-${Bun.hash(input).toString(16)}`);
  writeFileSync(path, input);
  const again = `npm run fuzz -- ${target} --seed ${seed} --runs ${run}`;
  return [
    `${target}: finding in run ${run} with seed ${seed}`,
    error,
    `input of ${input.length} bytes in ${path}`,
    `again: npm run fuzz -- ${target} --input ${path}`,
    ...(repeats ? [] : [`or, if that does not show it: ${again}`]),
  ].join("\n");
}

function growCorpus(target: string, kept: readonly Uint8Array[]): void {
  const folder = join(CORPUS, target);
  mkdirSync(folder, { recursive: true });
  // The last ones were the hardest to find.
  for (const bytes of kept.slice(-CORPUS_FILES)) writeFileSync(join(folder, Bun.hash(bytes).toString(16)), bytes);
}
