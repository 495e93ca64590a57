import { expect, test } from "bun:test";
import { addTallies, failure, formatTally, judge, NOTHING, parseJunit } from "../../run/junit.ts";

const SUMS =
  '<?xml version="1.0"?>\n<testsuites name="bun test" tests="9" assertions="4" failures="2" skipped="3" time="0.1">';
const REPORT = `${SUMS}
<testsuite name="a.test.ts" file="a.test.ts">
<testcase name="adds" classname="" file="a.test.ts" line="1" assertions="1" />
<testcase name="a &gt; &apos;b&apos;" classname="" file="a.test.ts" line="2">
  <failure type="AssertionError" message="expected&#10;">expected &amp;lt;&#10;  at a.test.ts&#10;</failure>
</testcase>
<testcase name="left out" classname="" file="a.test.ts" line="3">
  <skipped />
</testcase>
<testcase name="slow" classname="" file="a.test.ts" line="4">
  <failure type="TimeoutError" message="test timed out" />
</testcase>
</testsuite>
</testsuites>`;

test("sums are read from the root element", () => {
  expect(parseJunit(SUMS)).toEqual({ passed: 4, failed: 2, skipped: 3, failures: [] });
  expect(parseJunit("")).toBeUndefined();
  expect(parseJunit("<testsuites name='x'>")).toBeUndefined();
});

test("failures are read with what they say", () => {
  expect(parseJunit(REPORT)?.failures).toEqual([
    "a.test.ts: a > 'b'\nexpected &lt;\n  at a.test.ts",
    "a.test.ts: slow\ntest timed out",
  ]);
});

test("no report, or a bad exit status without a failed test, is a failure", () => {
  expect(judge(undefined, 0)).toEqual({ ...NOTHING, failed: 1, failures: [expect.stringContaining("no report")] });
  expect(judge("garbage", 0).failed).toBe(1);
  expect(judge(SUMS.replace('failures="2"', 'failures="0"'), 1)).toEqual({
    passed: 6,
    failed: 1,
    skipped: 3,
    failures: [expect.stringContaining("status 1")],
  });
  expect(judge(REPORT, 1).failed).toBe(2);
});

test("sums add up", () => {
  expect(addTallies({ ...NOTHING, passed: 1, skipped: 3 }, failure("x"))).toEqual({
    passed: 1,
    failed: 1,
    skipped: 3,
    failures: ["x"],
  });
  expect(formatTally({ ...NOTHING, passed: 1, failed: 2, skipped: 3 })).toBe("1 passed, 2 failed, 3 skipped");
});
