import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildPayload } from "./build.ts";
import { configOf, inProcessHost, SerialOutput, TestVm } from "./in-process.ts";

const folder = mkdtempSync(join(tmpdir(), "payload-powerbutton-"));
const host = inProcessHost();
afterAll(() => {
  host.threads.close();
  rmSync(folder, { recursive: true });
});

test("the power button raises the event register and its interrupt, and wakes a halted guest", async () => {
  const kernel = await buildPayload("powerbutton");
  const output = new SerialOutput(folder, "serial");
  const vm = new TestVm(
    configOf([
      ...["--kernel", kernel, "--cmdline", "presses=2", "--memory", "size=64M"],
      ...["--serial", `file=${output.path}`, "--console", "off"],
    ]),
    host,
  );
  const over = vm.run();
  for (const ready of ["READY 0", "READY 1"]) {
    await output.waitFor(ready);
    vm.powerButton();
  }
  expect(await over).toBe("power-off");
  vm.close();
  const text = await output.all();
  expect(text).toContain("RESULT presses=2 interrupts=2");
  expect(text).toContain("PASS");
});
