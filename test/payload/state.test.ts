import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GuestMemory } from "../../src/memory/guest-memory.ts";
import type { SavedVm } from "../../src/vmm/vm.ts";
import { openDescriptors, openedSince } from "../unit/open-descriptors.ts";
import { buildPayload } from "./build.ts";
import { configOf, copyMemory, GO_ON, inProcessHost, SerialOutput, TestVm } from "./in-process.ts";

const folder = mkdtempSync(join(tmpdir(), "payload-state-"));
const host = inProcessHost();
afterAll(() => {
  host.threads.close();
  rmSync(folder, { recursive: true });
});

const TIMEOUT_MS = 60_000;

describe("state in shared blocks", () => {
  test(
    "copied out of a running guest and into a machine built anew, three times over: the guest goes on",
    async () => {
      const kernel = await buildPayload("state");
      const disk = join(folder, "state.raw");
      writeFileSync(disk, "");
      truncateSync(disk, 16 << 20);
      const moves = 3;
      let saved: SavedVm | undefined;
      let output: SerialOutput;
      for (let life = 0; ; life++) {
        output = new SerialOutput(folder, `serial${life}`);
        const config = configOf([
          ...["--kernel", kernel, "--cmdline", `wait=ram moves=${moves}`, "--memory", "size=64M"],
          ...["--serial", `file=${output.path}`, "--console", "null", "--disk", `path=${disk},image_type=raw`],
        ]);
        const vm = new TestVm(config, host, saved);
        const over = vm.run();
        if (life === moves) {
          expect(await over).toBe("power-off");
          vm.close();
          break;
        }
        await Promise.race([output.waitFor("READY"), over]);
        vm.pause();
        const fill = copyMemory(vm.memory);
        const fillMemory = (target: GuestMemory): void => {
          fill(target);
          target.writeU32(GO_ON, 1);
        };
        saved = { ...vm.save(), fillMemory };
        vm.stop();
        expect(await over).toBe("stopped");
        vm.close();
      }
      const text = await output.all();
      expect(text).toContain(`RESULT moves=${moves} blk=1 rng=1`);
      expect(text).not.toContain("FAIL");
      expect(text).toContain("PASS");
    },
    TIMEOUT_MS,
  );

  test(
    "a machine that is paused and resumed a hundred times loses nothing",
    async () => {
      const kernel = await buildPayload("state");
      const output = new SerialOutput(folder, "paused");
      const config = configOf([
        ...["--kernel", kernel, "--cmdline", "wait=ram blk=0", "--memory", "size=64M", "--cpus", "boot=1"],
        ...["--serial", `file=${output.path}`, "--console", "null"],
      ]);
      const vm = new TestVm(config, host);
      const over = vm.run();
      await output.waitFor("READY");
      for (let i = 0; i < 100; i++) {
        vm.pause();
        vm.resume();
      }
      vm.memory?.writeU32(GO_ON, 1);
      expect(await over).toBe("power-off");
      vm.close();
      expect(await output.all()).toContain("PASS");
    },
    TIMEOUT_MS,
  );

  test("a saved machine without one of its devices is refused, and nothing is left open", async () => {
    const kernel = await buildPayload("state");
    const config = configOf(["--kernel", kernel, "--serial", "null", "--console", "null", "--memory", "size=64M"]);
    const before = openDescriptors();
    const vm = new TestVm(config, host, { devices: {}, vcpus: [], fillMemory: () => undefined });
    expect(vm.run()).rejects.toThrow("the saved machine has no device");
    vm.close();
    expect(openedSince(before)).toEqual([]);
  });
});
