import { expect, test } from "bun:test";
import { expectPass } from "./expect.ts";
import { runOnVmm } from "./vmm.ts";

test("a guest says how the host is to treat its RAM, and nothing else", async () => {
  const outcome = await runOnVmm("pvmemcontrol", { memory: "size=64M", extra: ["--pvmemcontrol"] });
  expectPass(outcome);
  expect(outcome.stderr).toBe("");
});
