import { describeOutcome, PayloadError, type PayloadOutcome, resultNumber } from "../payload/process.ts";
import { runOnVmm } from "../payload/vmm.ts";
import { runOnCLoop } from "./cloop.ts";
import { type Figure, median } from "./figure.ts";

const ROUNDS = 7;
// The serial port's scratch register: a device with state and a lock, but nothing to do.
const CMDLINE = "port=0x3ff count=500 rounds=41";

/** Nanoseconds an exit took in the middle and in the fastest of the payload's rounds. */
interface ExitTimes {
  readonly medianNs: number;
  readonly fastestNs: number;
}

function timesOf(outcome: PayloadOutcome): ExitTimes {
  if (!outcome.passed) {
    throw new PayloadError(`the exits payload did not pass: ${describeOutcome(outcome)}`);
  }
  return { medianNs: resultNumber(outcome, "median_ns"), fastestNs: resultNumber(outcome, "min_ns") };
}

/**
 * Cost of a port exit, seen by the guest, on ours and on a C loop that does nothing but the same system call. The two
 * take turns, and the difference is taken turn by turn, since the cost of an exit itself drifts with the machine's load.
 */
export async function exitFigures(): Promise<Figure[]> {
  const ours: ExitTimes[] = [];
  const loop: ExitTimes[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    loop.push(timesOf(await runOnCLoop("exits", CMDLINE)));
    ours.push(timesOf(await runOnVmm("exits", { cmdline: CMDLINE })));
  }
  const micros = (times: readonly ExitTimes[], key: keyof ExitTimes): number =>
    median(times.map((one) => one[key])) / 1000;
  const ownMicros = (key: keyof ExitTimes): number =>
    median(ours.map((one, round) => one[key] - (loop[round]?.[key] ?? Number.NaN))) / 1000;
  const own = ownMicros("medianNs");
  return [
    { what: "port exit", unit: "µs", ours: micros(ours, "medianNs"), others: { "C loop": micros(loop, "medianNs") } },
    {
      what: "our own work per port exit, above the C loop",
      unit: "µs",
      ours: own,
      others: {},
      goal: { text: "at most 1 µs", reached: own <= 1 },
    },
    // What other work on the machine disturbs least.
    { what: "the same in each run's fastest round", unit: "µs", ours: ownMicros("fastestNs"), others: {} },
  ];
}
