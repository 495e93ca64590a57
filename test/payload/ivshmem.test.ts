import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SavedVm } from "../../src/vmm/vm.ts";
import { buildPayload } from "./build.ts";
import { expectPass } from "./expect.ts";
import { configOf, copyMemory, inProcessHost, TestVm } from "./in-process.ts";
import { runOnVmm } from "./vmm.ts";

const SIZE = 1 << 20;
const ROUNDS = 64;
/** Where each guest counts. */
const COUNTERS = [64, 128];
const LAST_WORD = 0x6976_736d_656dn;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "payload-ivshmem-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function sharedFile(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, "");
  truncateSync(path, SIZE);
  return path;
}

test("two guests count in turns in the file that they share, while each moves its BAR about", async () => {
  const path = sharedFile("shared");
  const play = (role: string) =>
    runOnVmm("ivshmem", {
      cmdline: `size=${SIZE} rounds=${ROUNDS} role=${role}`,
      memory: "size=64M",
      extra: ["--ivshmem", `path=${path},size=${SIZE}`],
    });
  for (const outcome of await Promise.all([play("ping"), play("pong")])) expectPass(outcome);
  const bytes = readFileSync(path);
  for (const at of COUNTERS) expect(bytes.readBigUInt64LE(at)).toBe(BigInt(ROUNDS));
  expect(bytes.readBigUInt64LE(SIZE - 8)).toBe(LAST_WORD);
});

test("a guest that waits for its partner goes on in a machine built anew", async () => {
  const host = inProcessHost();
  const path = sharedFile("moved");
  const config = configOf([
    ...["--kernel", await buildPayload("ivshmem"), "--cmdline", `size=${SIZE} rounds=1 role=ping`],
    ...["--memory", "size=64M", "--serial", "null", "--console", "null", "--ivshmem", `path=${path},size=${SIZE}`],
  ]);
  const counters = () => COUNTERS.map((at) => Number(readFileSync(path).readBigUInt64LE(at)));
  let saved: SavedVm | undefined;
  for (let life = 0; ; life++) {
    const vm = new TestVm(config, host, saved);
    await vm.start();
    const { over } = vm;
    while (counters()[0] !== 1) await Bun.sleep(1);
    if (life === 2) {
      const partner = readFileSync(path);
      partner.writeBigUInt64LE(1n, COUNTERS[1]);
      writeFileSync(path, partner, { flag: "r+" });
      expect(await over).toBe("power-off");
      vm.close();
      break;
    }
    vm.pause();
    saved = { ...vm.save(), fillMemory: copyMemory(vm.memory) };
    vm.stop();
    expect(await over).toBe("stopped");
    vm.close();
  }
  host.threads.close();
  expect(counters()).toEqual([1, 1]);
});
