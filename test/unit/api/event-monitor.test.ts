import { expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EventMonitor, EventMonitorError, eventText } from "../../../src/api/event-monitor.ts";
import { defer, testFolder } from "./http/rig.ts";

test("an event to the byte", () => {
  expect(
    eventText({ source: "vm", event: "device-removed", properties: { id: "d", bdf: "0000:00:03.0" } }, 2_000_000_345),
  ).toBe(
    '{\n  "timestamp": {\n    "secs": 2,\n    "nanos": 345\n  },\n  "source": "vm",\n  "event": "device-removed",\n' +
      '  "properties": {\n    "id": "d",\n    "bdf": "0000:00:03.0"\n  }\n}\n\n',
  );
});

test("a file is created or truncated, and has the events in order", () => {
  const path = join(testFolder(), "events");
  writeFileSync(path, "old");
  const monitor = new EventMonitor({ path });
  monitor.report({ source: "vmm", event: "starting" });
  monitor.report({ source: "vm", event: "booting" });
  const events = readFileSync(path, "utf8")
    .split("\n\n")
    .slice(0, -1)
    .map((text) => JSON.parse(text));
  expect(events.map(({ source, event, properties }) => [source, event, properties])).toEqual([
    ["vmm", "starting", null],
    ["vm", "booting", null],
  ]);
  const [first, second] = events.map(({ timestamp: { secs, nanos } }) => secs * 1e9 + nanos);
  expect(first).toBeLessThan(5e9);
  expect(second).toBeGreaterThanOrEqual(first);
});

/** A FIFO or pipe whose reader never reads, or is gone, as a descriptor to write to. */
function fullPipe(): { readonly write: number; readonly read: number } {
  const path = join(testFolder(), "fifo");
  Bun.spawnSync(["mkfifo", path]);
  const both = openSync(path, "r+");
  const write = openSync(path, "w");
  return { write, read: both };
}

test("a reader that is slow stops nothing", () => {
  const { write, read } = fullPipe();
  defer(() => closeSync(read));
  const monitor = new EventMonitor({ fd: write });
  for (let i = 0; i < 5000; i++) monitor.report({ source: "vm", event: "paused" });
  expect(statSync(`/proc/self/fd/${read}`).isFIFO()).toBe(true);
  closeSync(write);
});

test("a reader that is gone stops nothing", () => {
  const { write, read } = fullPipe();
  closeSync(read);
  const monitor = new EventMonitor({ fd: write });
  monitor.report({ source: "vm", event: "paused" });
  closeSync(write);
});

test("what cannot be opened is said", () => {
  expect(() => new EventMonitor({ path: "/nonexistent/e" })).toThrow(EventMonitorError);
  expect(() => new EventMonitor({ fd: 9999 })).toThrow("cannot report events to fd 9999");
});
