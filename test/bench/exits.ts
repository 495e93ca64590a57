import { describeOutcome, PayloadError, type PayloadOutcome, resultNumber } from "../payload/process.ts";
import { runOnVmm } from "../payload/vmm.ts";
import { runOnCLoop } from "./cloop.ts";
import { type Figure, median } from "./figure.ts";

const ROUNDS = 7;
// The serial port's scratch register: a device with state and a lock, but nothing to do.
const CMDLINE = "port=0x3ff count=500 rounds=41";

function medianNs(outcome: PayloadOutcome): number {
  if (!outcome.passed) {
    throw new PayloadError(`the exits payload did not pass: ${describeOutcome(outcome)}`);
  }
  return resultNumber(outcome, "median_ns");
}

/**
 * Cost of a port exit, seen by the guest, on ours and on a C loop that does nothing but the same system call. The two
 * take turns, and the difference is taken turn by turn, since the cost of an exit itself drifts with the machine's load.
 */
export async function exitFigures(): Promise<Figure[]> {
  const ours: number[] = [];
  const loop: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    loop.push(medianNs(await runOnCLoop("exits", CMDLINE)));
    ours.push(medianNs(await runOnVmm("exits", { cmdline: CMDLINE })));
  }
  const own = median(ours.map((ns, round) => ns - (loop[round] ?? Number.NaN))) / 1000;
  return [
    { what: "port exit", unit: "µs", ours: median(ours) / 1000, others: { "C loop": median(loop) / 1000 } },
    {
      what: "our own work per port exit, above the C loop",
      unit: "µs",
      ours: own,
      others: {},
      goal: { text: "at most 1 µs", reached: own <= 1 },
    },
  ];
}
