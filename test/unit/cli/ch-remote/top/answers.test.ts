import { expect, test } from "bun:test";
import { ApiConnectionError } from "../../../../../src/api/client/api-client.ts";
import { identityOf, usesOf } from "../../../../../src/cli/ch-remote/top/answers.ts";
import { parseMetrics } from "../../../../../src/cli/ch-remote/top/metrics-text.ts";

test("a ping's answer tells process and version", () => {
  expect(identityOf({ pid: 7, version: "1", features: [] })).toEqual({ pid: 7, version: "1" });
});

test.each([
  [null],
  [{}],
  [{ pid: 7 }],
  [{ pid: "../../etc", version: "1" }],
  [{ pid: 1.5, version: "1" }],
  [{ pid: 7, version: 1 }],
])("%j is no VMM's answer to a ping", (ping) => {
  expect(() => identityOf(ping)).toThrow(ApiConnectionError);
});

test("devices' uses are told by id", () => {
  const disks = [{ id: "d", path: "/d" }, { id: "e" }];
  const net = [
    { id: "n", tap: "t" },
    { id: "u", user: true },
  ];
  const uses = { d: "/d", e: "", n: "t", u: "passt" };
  expect(Object.fromEntries(usesOf({ config: { disks, net } }))).toEqual(uses);
});

test("what is of another kind than devices is passed over", () => {
  for (const info of [undefined, 3, {}, { config: null }, { config: { disks: {}, net: [null, 3] } }])
    expect(usesOf(info).size).toBe(0);
  expect(usesOf({ config: { disks: [{ id: "d", path: 5 }] } }).get("d")).toBe("");
});

test("labels without an end take time by their length", () => {
  const started = performance.now();
  expect(parseMetrics(`m{${"a".repeat(300_000)}} 1`).get("m")).toEqual([{ labels: {}, value: 1 }]);
  expect(performance.now() - started).toBeLessThan(5000);
});
