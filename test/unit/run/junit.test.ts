import { expect, test } from "bun:test";
import { addTallies, formatTally, judge, parseJunit } from "../../run/junit.ts";

const REPORT =
  '<?xml version="1.0"?>\n<testsuites name="bun test" tests="9" assertions="4" failures="2" skipped="3" time="0.1">';

test("sums are read from the root element", () => {
  expect(parseJunit(REPORT)).toEqual({ passed: 4, failed: 2, skipped: 3 });
  expect(parseJunit("")).toBeUndefined();
  expect(parseJunit("<testsuites name='x'>")).toBeUndefined();
});

test("no report, or a bad exit status without a failed test, is a failure", () => {
  expect(judge(undefined, 0)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  expect(judge("garbage", 0)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  const green = REPORT.replace('failures="2"', 'failures="0"');
  expect(judge(green, 0)).toEqual({ passed: 6, failed: 0, skipped: 3 });
  expect(judge(green, 1)).toEqual({ passed: 6, failed: 1, skipped: 3 });
  expect(judge(REPORT, 1)).toEqual({ passed: 4, failed: 2, skipped: 3 });
});

test("the last line", () => {
  expect(formatTally(addTallies({ passed: 1, failed: 0, skipped: 2 }, { passed: 3, failed: 4, skipped: 0 }))).toBe(
    "4 passed, 4 failed, 2 skipped",
  );
});
