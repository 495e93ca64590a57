/** How many tests of a run went which way. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What is known of each that failed: its file and name, then what it said. */
  readonly failures: readonly string[];
}

export const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0, failures: [] };

export function addTallies(a: Tally, b: Tally): Tally {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    failures: [...a.failures, ...b.failures],
  };
}

/** One failed test that is not in a report, or is a run of its own. */
export function failure(what: string): Tally {
  return { ...NOTHING, failed: 1, failures: [what] };
}

/** The line a whole run ends with. */
export function formatTally({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function unescaped(text: string): string {
  return text.replace(/&(?:#(\d+)|(\w+));/g, (whole, code: string | undefined, name: string | undefined) =>
    code === undefined ? (ENTITIES[name ?? ""] ?? whole) : String.fromCodePoint(Number(code)),
  );
}

function attribute(element: string, name: string): string {
  return unescaped(new RegExp(`\\b${name}="([^"]*)"`).exec(element)?.[1] ?? "");
}

function parseFailures(xml: string): string[] {
  const cases = xml.matchAll(/<testcase\b([^>]*)>\s*<failure\b([^>]*?)(?:\/>|>([^<]*)<\/failure>)/g);
  return [...cases].map(([, testcase = "", attributes = "", text]) => {
    const said = text === undefined ? attribute(attributes, "message") : unescaped(text).trimEnd();
    return `${attribute(testcase, "file")}: ${attribute(testcase, "name")}\n${said}`;
  });
}

/** The sums on the root element of a JUnit report and what it says of failures, or undefined when the text is not one. */
export function parseJunit(xml: string): Tally | undefined {
  const root = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (root === undefined) return undefined;
  const count = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(root)?.[1]);
  const [tests, failures, skipped] = [count("tests"), count("failures"), count("skipped")];
  if (Number.isNaN(tests + failures + skipped)) return undefined;
  return { passed: tests - failures - skipped, failed: failures, skipped, failures: parseFailures(xml) };
}

/**
 * The result of one run of a test program: its report and its exit status have to agree. A program that was stopped, crashed, wrote no
 * report, or failed outside of any test counts as one more failed test.
 */
export function judge(report: string | undefined, status: number): Tally {
  const tally = report === undefined ? undefined : parseJunit(report);
  if (tally === undefined) return failure(`no report; the tests ended with status ${status}`);
  return status !== 0 && tally.failed === 0
    ? addTallies(tally, failure(`no test failed, but they ended with status ${status}`))
    : tally;
}
