// The process that runs a target: it may hang, crash or eat memory, which is for its monitor to see.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Random } from "../../unit/random.ts";
import { Coverage } from "./coverage.ts";
import { Input } from "./input.ts";
import { instrumentSources } from "./instrument.ts";
import type { FuzzJob, FuzzReport } from "./job.ts";
import { minimise } from "./minimise.ts";
import { Mutator } from "./mutate.ts";
import { Progress } from "./progress.ts";
import { loadTarget } from "./registry.ts";
import type { FuzzRun } from "./target.ts";

/** Descriptors, and mappings, that a target may have more after many runs than after its first ones: a leak has one for each run. */
const SPARE = 64;
const CHECK_RUNS = 2000;
/** Inputs that are not of interest any more are forgotten beyond this many. */
const MOST_KEPT = 4096;

const job = JSON.parse(process.argv[2] ?? "") as FuzzJob;
const report = (what: FuzzReport): void => writeFileSync(job.report, JSON.stringify(what));
const descriptors = (): number => readdirSync("/proc/self/fd").length;
const asBytes = (seed: string | Uint8Array): Uint8Array => (typeof seed === "string" ? Buffer.from(seed) : seed);

instrumentSources();
const { mappings } = await import("./mappings.ts");
const held = () => ({ descriptors: descriptors(), mappings: mappings() });
const target = await loadTarget(job.target);
const run = await target.open();
const progress = new Progress(job.progress, target.maxBytes);
const coverage = new Coverage();
const random = new Random(job.seed);
const mutator = new Mutator(random, target.maxBytes, (target.dictionary ?? []).map(asBytes));
const kept: Uint8Array[] = [];

/** @returns what the target did wrong */
async function attempt(drive: FuzzRun, bytes: Uint8Array): Promise<unknown> {
  progress.begin(bytes);
  try {
    const waits = drive(new Input(bytes));
    if (waits !== undefined) await waits;
    return undefined;
  } catch (error) {
    return error ?? new Error("threw nothing");
  } finally {
    progress.end();
  }
}

/** @returns whether to go on */
async function tryOut(bytes: Uint8Array): Promise<boolean> {
  coverage.begin();
  const error = await attempt(run, bytes);
  if (error === undefined) {
    if (coverage.isNews()) {
      if (kept.length >= MOST_KEPT) kept.splice(random.below(kept.length), 1);
      kept.push(bytes.slice());
    }
    return true;
  }
  const at = progress.runs;
  const smallest = await minimise(bytes, error, (candidate) => attempt(run, candidate));
  report({
    kind: "finding",
    run: at,
    error: Bun.inspect(error),
    input: Buffer.from(smallest ?? bytes).toString("base64"),
    repeats: smallest !== undefined,
  });
  return false;
}

/** The next input: of the newest that did something new, of any of them, or out of nothing. */
function next(): Uint8Array {
  const choose = (): Uint8Array => {
    const { length } = kept;
    const recent = Math.min(length, 32);
    return kept[random.below(2) === 0 ? length - 1 - random.below(recent) : random.below(length)] ?? new Uint8Array(0);
  };
  if (kept.length === 0 || random.below(50) === 0) return mutator.fresh();
  return mutator.mutate(choose(), choose());
}

async function fuzz(): Promise<void> {
  const given = job.inputs.map((path) => new Uint8Array(readFileSync(path)).slice(0, target.maxBytes));
  const seeds = job.replay ? [] : [new Uint8Array(0), ...(target.seeds?.() ?? []).map(asBytes)];
  let runs = 0;
  for (const input of [...seeds, ...given]) {
    if (!(await tryOut(input.slice(0, target.maxBytes)))) return;
    runs++;
  }
  const until = performance.now() + job.seconds * 1000;
  let before: ReturnType<typeof held> | undefined;
  while (!job.replay && runs < job.runs) {
    if (!(await tryOut(next()))) return;
    runs++;
    if (runs % 64 === 0 && performance.now() > until) break;
    if (runs % CHECK_RUNS !== 0) continue;
    // Asynchronous leftovers of the runtime have their turn.
    await new Promise(setImmediate);
    const now = held();
    before ??= now;
    for (const kind of ["descriptors", "mappings"] as const) {
      if (now[kind] <= before[kind] + SPARE) continue;
      const error = `${kind} leak: ${before[kind]} after ${CHECK_RUNS} runs, ${now[kind]} after ${runs}`;
      report({ kind: "finding", run: runs, error, input: "", repeats: false });
      return;
    }
  }
  const small = kept.filter(({ length }) => length <= 512).map((bytes) => Buffer.from(bytes).toString("base64"));
  report({ kind: "done", runs, places: coverage.places, kept: small });
}

await fuzz();
// What targets leave behind, such as watchers, must not keep the process.
process.exit(0);
