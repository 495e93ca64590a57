import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { describePlacement, placeAside, restorePlacement } from "../../../../src/host/launcher/placement.ts";
import { setThreadAffinity, threadAffinity } from "../../../../src/host/thread.ts";

const cpusOf = (pid: number): string =>
  /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "";
const own = threadAffinity();

test.skipIf(own.length < 2)(
  "a process is kept off one CPU of those it may have, until it takes them all back",
  async () => {
    const placement = describePlacement() ?? "";
    const [first = 0, second = 0] = own;
    await using child = Bun.spawn(["sleep", "60"]);
    const before = cpusOf(child.pid);
    try {
      setThreadAffinity([first]);
      placeAside(child.pid, placement);
      expect(cpusOf(child.pid)).not.toBe(before);
      expect(cpusOf(child.pid).split(/[-,]/)[0]).toBe(String(second));
      restorePlacement(placement);
      expect(threadAffinity()).toEqual(own);
    } finally {
      setThreadAffinity(own);
    }
  },
);

test("a process that has one CPU keeps it, and what is no set of CPUs changes nothing", async () => {
  const [first = 0] = own;
  await using child = Bun.spawn(["sleep", "60"]);
  const before = cpusOf(child.pid);
  try {
    setThreadAffinity([first]);
    placeAside(child.pid, describePlacement() ?? "");
    expect(cpusOf(child.pid)).toBe(before);
    for (const text of [undefined, "", "0", "xy", "ff".repeat(1025)]) restorePlacement(text);
    expect(threadAffinity()).toEqual([first]);
  } finally {
    setThreadAffinity(own);
  }
});
