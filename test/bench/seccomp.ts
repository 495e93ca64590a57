import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describeOutcome, PayloadError, resultNumber } from "../payload/process.ts";
import { runOnVmm } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import { runText } from "../setup/exec.ts";
import { DISK_BYTES, writeData } from "./block-disks.ts";
import { type Figure, median } from "./figure.ts";

/** Pairs of runs, one with filters and one without. */
const PAIRS = Number(process.env["CH_BENCH_ROUNDS"] ?? 15);
const RUN_S = 1;
const WARM_MS = 300;
const MOST_PERCENT = 2;

async function readsPerSecond(disk: string, depth: number, seccomp: boolean): Promise<number> {
  const outcome = await runOnVmm("blkbench", {
    cmdline: `op=randread qd=${depth} queues=1 seconds=${RUN_S} warm_ms=${WARM_MS}`,
    extra: ["--seccomp", String(seccomp), "--disk", `path=${disk},image_type=raw`],
  });
  if (!outcome.passed) throw new PayloadError(`the payload did not pass: ${describeOutcome(outcome)}`);
  return resultNumber(outcome, "iops");
}

async function costAt(depth: number, disk: string): Promise<Figure[]> {
  const [filtered, free]: [number[], number[]] = [[], []];
  for (let pair = 0; pair < PAIRS; pair++)
    // Who comes first changes, so that what grows or shrinks with time counts for both.
    for (const seccomp of pair % 2 === 0 ? [true, false] : [false, true])
      (seccomp ? filtered : free).push(await readsPerSecond(disk, depth, seccomp));
  const percent = (ours: number, others: number): number => 100 * (1 - ours / others);
  const cost = median(filtered.map((value, pair) => percent(value, free[pair] ?? Number.NaN)));
  const what = `4 KiB random reads of a raw disk, depth ${depth}`;
  return [
    { what: `${what}, with filters`, unit: "IOPS", ours: median(filtered), others: { without: median(free) } },
    {
      what: "what the filters cost, by pairs of runs",
      unit: "%",
      ours: cost,
      others: {},
      goal: { text: `under ${MOST_PERCENT} %`, reached: cost < MOST_PERCENT },
    },
    // What other work on the machine disturbs least.
    {
      what: "the same of the fastest run of each",
      unit: "%",
      ours: percent(Math.max(...filtered), Math.max(...free)),
      others: {},
    },
  ];
}

const CALLS = [
  ["io_uring_enter of a disk's thread", "block"],
  ["KVM_RUN of a vCPU's thread", "vcpu"],
] as const;
/** A read takes two calls, and tens of microseconds; so does an exit one, and about as long. */
const MOST_NS = 100;

async function costOfCall(what: string, kind: string): Promise<Figure> {
  const text = await runText([process.execPath, join(import.meta.dir, "filtered-calls.ts"), kind]);
  const { free, filtered } = JSON.parse(text) as { free: number; filtered: number };
  return {
    what: `what the filters add to ${what}, to the call alone that takes ${free.toFixed(0)} ns`,
    unit: "ns",
    ours: filtered - free,
    others: {},
    goal: { text: `at most ${MOST_NS} ns`, reached: filtered - free <= MOST_NS },
  };
}

/** What seccomp filters take from single system calls, and from a guest's reads. CH_BENCH_ROUNDS: pairs of runs. */
export async function* seccompFigures(): AsyncGenerator<Figure> {
  for (const [what, kind] of CALLS) yield await costOfCall(what, kind);
  const folder = await scratchDir("bench-seccomp");
  try {
    const disk = join(folder, "disk.raw");
    await writeData(disk, DISK_BYTES);
    for (const depth of [1, 32]) yield* await costAt(depth, disk);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
