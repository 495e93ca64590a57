import { expect, test } from "bun:test";
import { expectPass } from "./expect.ts";
import { sleepsOf } from "./threads.ts";
import { runOnVmm, startOnVmm } from "./vmm.ts";

/** A guest that is up is at rest after this long, and is watched for this long. */
const SETTLE_MS = 500;
const IDLE_MS = 1500;

test("virtio-rtc answers every message, and every malformed one, as the specification says", async () => {
  const now = Math.floor(Date.now() / 1000);
  expectPass(await runOnVmm("rtc", { cmdline: `now=${now}`, extra: ["--rtc"] }));
});

test("virtio-watchdog takes buffers and refuses bad ones", async () => {
  expectPass(await runOnVmm("watchdog", { extra: ["--watchdog"] }));
});

test("devices that nobody uses wake nobody", async () => {
  const machine = await startOnVmm("powerbutton", {
    extra: ["--rtc", "--watchdog", "--pvpanic", "--balloon", "size=64M,free_page_reporting=on,statistics=on"],
  });
  await machine.nextLine((line) => line.startsWith("READY"));
  await Bun.sleep(SETTLE_MS);
  const before = sleepsOf(machine.pid, "io");
  await Bun.sleep(IDLE_MS);
  expect(sleepsOf(machine.pid, "io")).toBe(before);
  machine.signal("SIGTERM");
  await machine.outcome();
});
