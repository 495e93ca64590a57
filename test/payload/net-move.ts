import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SavedVm } from "../../src/vmm/vm.ts";
import { buildPayload } from "./build.ts";
import { configOf, copyMemory, GO_ON, inProcessHost, SerialOutput, TestVm } from "./in-process.ts";

// Runs netcheck between the TAP interfaces a and b, and moves it to a machine built anew. Prints what the guest says.

const kernel = await buildPayload("netcheck");
const folder = mkdtempSync(join(tmpdir(), "payload-net-move-"));
const host = inProcessHost();
let saved: SavedVm | undefined;
for (const life of ["before", "after"]) {
  const output = new SerialOutput(folder, life);
  const config = configOf([
    ...["--kernel", kernel, "--cmdline", "move=1", "--memory", "size=64M", "--serial", `file=${output.path}`],
    ...["--console", "null", "--net", "tap=a,mac=2e:00:00:00:00:0a", "tap=b,mac=2e:00:00:00:00:0b"],
  ]);
  const vm = new TestVm(config, host, saved);
  const over = vm.run();
  if (saved === undefined) {
    await Promise.race([output.waitFor("READY"), over]);
    vm.pause();
    saved = { ...vm.save(), fillMemory: copyMemory(vm.memory) };
    vm.stop();
  } else vm.memory?.writeU32(GO_ON, 1);
  await over;
  vm.close();
  console.log(await output.all());
}
host.threads.close();
rmSync(folder, { recursive: true });
