/** How many tests of a run went which way. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0 };

export function addTallies(a: Tally, b: Tally): Tally {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The line a whole run ends with. */
export function formatTally({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** The sums on the root element of a JUnit report, or undefined when the text is not one. */
export function parseJunit(xml: string): Tally | undefined {
  const root = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (root === undefined) return undefined;
  const count = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(root)?.[1]);
  const [tests, failures, skipped] = [count("tests"), count("failures"), count("skipped")];
  if (Number.isNaN(tests + failures + skipped)) return undefined;
  return { passed: tests - failures - skipped, failed: failures, skipped };
}

/**
 * The result of one run of a test program: its report and its exit status have to agree. A program that was stopped, crashed, wrote no
 * report, or failed outside of any test counts as one more failed test.
 */
export function judge(report: string | undefined, status: number): Tally {
  const tally = report === undefined ? undefined : parseJunit(report);
  if (tally === undefined) return { ...NOTHING, failed: 1 };
  return status !== 0 && tally.failed === 0 ? { ...tally, failed: 1 } : tally;
}
