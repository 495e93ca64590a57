import { describeOutcome, PayloadError, type PayloadOutcome } from "./process.ts";

/** Throws PayloadError, with everything the guest said, unless it passed and the monitor ended with status 0. */
export function expectPass(outcome: PayloadOutcome): void {
  if (!outcome.passed || outcome.exitCode !== 0) {
    throw new PayloadError(`the payload did not pass: ${describeOutcome(outcome)}`);
  }
}
