import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildPayload } from "./build.ts";
import { expectPass } from "./expect.ts";
import { runOnVmm } from "./vmm.ts";

const FILE_BYTES = 100_003;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "payload-fwcfg-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

test("items by port and by DMA; what the guest may not ask for is refused", async () => {
  const file = join(folder, "file");
  writeFileSync(
    file,
    Uint8Array.from({ length: FILE_BYTES }, (_, i) => i * 7),
  );
  const { size } = statSync(await buildPayload("fwcfg"));
  const items = `items=[name=opt/file,file=${file}:name=opt/text,string=hello]`;
  expectPass(
    await runOnVmm("fwcfg", {
      cmdline: `kernel=${size} file=${FILE_BYTES} text=hello`,
      extra: ["--fw-cfg-config", `initramfs=off,${items}`],
    }),
  );
});

test("nothing is exposed that was switched off", async () => {
  const outcome = await runOnVmm("fwcfg", {
    cmdline: "kernel=0 file=0 text=",
    extra: ["--fw-cfg-config", "kernel=off,cmdline=off,initramfs=off,e820=off,acpi_table=off"],
  });
  expect(outcome.failures).toEqual(["there is no opt/text"]);
  expect(outcome.exitCode).toBe(0);
});
