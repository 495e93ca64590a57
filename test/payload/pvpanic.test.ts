import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { expectPass } from "./expect.ts";
import { runOnVmm } from "./vmm.ts";

let folder: string;

beforeAll(async () => {
  folder = await scratchDir("payload-pvpanic");
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test("each event that the guest writes is one of the event monitor's; a flood is reported now and then", async () => {
  const events = join(folder, "events");
  const outcome = await runOnVmm("pvpanic", {
    cmdline: "flood=5000",
    extra: ["--pvpanic", "--event-monitor", `path=${events}`],
  });
  expectPass(outcome);
  const told = readFileSync(events, "utf8")
    .split("\n\n")
    .filter((text) => text !== "")
    .map((text) => JSON.parse(text));
  const panics = told.filter(({ source }) => source === "guest");
  expect(panics.slice(0, 3)).toMatchObject(
    ["panic", "crash_loaded", "unknown_event"].map((event) => ({ event: "panic", properties: { event } })),
  );
  expect(panics.length).toBeLessThan(3 + outcome.elapsedMs / 100);
});
