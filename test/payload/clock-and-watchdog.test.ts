import { test } from "bun:test";
import { expectPass } from "./expect.ts";
import { runOnVmm } from "./vmm.ts";

test("virtio-rtc answers every message, and every malformed one, as the specification says", async () => {
  const now = Math.floor(Date.now() / 1000);
  expectPass(await runOnVmm("rtc", { cmdline: `now=${now}`, extra: ["--rtc"] }));
});

test("virtio-watchdog takes buffers and refuses bad ones", async () => {
  expectPass(await runOnVmm("watchdog", { extra: ["--watchdog"] }));
});
