import { expect, test } from "bun:test";
import { expectPass } from "./expect.ts";
import { startOnVmm } from "./vmm.ts";

test("the VM generation identifier is another one at each boot", async () => {
  const machine = await startOnVmm("vmgenid", { terminal: true });
  const ids = new Set<string>();
  for (const command of ["a", "a", "q"]) {
    ids.add(await machine.nextLine((line) => line.startsWith("ID ")));
    machine.write(command);
  }
  expectPass(await machine.outcome());
  expect(ids.size).toBe(3);
});
