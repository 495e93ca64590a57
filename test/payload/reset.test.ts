import { expect, test } from "bun:test";
import { threadAffinity } from "../../src/host/thread.ts";
import { expectPass } from "./expect.ts";
import { startOnVmm } from "./vmm.ts";

const sources = [
  ["the ACPI reset register", "a"],
  ["the keyboard controller", "i"],
  ["the CMOS shutdown status", "c"],
  ["a triple fault", "t"],
] as const;

test.each(sources)("%s restarts the guest with clean RAM in the same process", async (_name, command) => {
  const machine = await startOnVmm("reboot", { terminal: true });
  const boot = (line: string): boolean => line === "BOOT";
  await machine.nextLine(boot);
  machine.write(command);
  await machine.nextLine(boot);
  machine.write(command);
  await machine.nextLine(boot);
  machine.write("q");
  const outcome = await machine.outcome();
  expectPass(outcome);
  expect(outcome.lines.filter(boot)).toHaveLength(3);
});

const [CPU = 0] = threadAffinity();

// A thread that a vCPU has had before has its filter already.
test.each(["core_scheduling=vm", "core_scheduling=vcpu", `affinity=[0@[${CPU}]]`])(
  "%s holds for the next life",
  async (option) => {
    const machine = await startOnVmm("reboot", { terminal: true, cpus: `boot=2,${option}` });
    const boot = (line: string): boolean => line === "BOOT";
    await machine.nextLine(boot);
    machine.write("a");
    await machine.nextLine(boot);
    machine.write("q");
    expectPass(await machine.outcome());
  },
);
