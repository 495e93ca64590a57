import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sys } from "../../src/host/syscall-numbers.ts";
import type { SavedVm } from "../../src/vmm/vm.ts";
import { buildPayload } from "./build.ts";
import { expectPass } from "./expect.ts";
import { configOf, copyMemory, GO_ON, inProcessHost, SerialOutput, TestVm } from "./in-process.ts";
import { PayloadProcess, resultNumber } from "./process.ts";
import { runOnVmm, vmmArguments, vmmPath } from "./vmm.ts";
import { withoutSyscalls } from "./without-syscalls.ts";

const MIB = 1 << 20;
const SIZE = 4 * MIB;
const PAGE = 4096;
/** What the guest writes into every page, less the page's offset. */
const MARK = 0x706d_656d;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "payload-pmem-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function makeFile(name: string, bytes = SIZE): string {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array([0x42]));
  truncateSync(path, bytes);
  return path;
}

/** Checks that the guest's writes are in the file, page by page. */
function expectWritten(path: string): void {
  const bytes = readFileSync(path);
  for (let at = 0; at < bytes.length; at += PAGE) expect(bytes.readUInt32LE(at + 16)).toBe((at ^ MARK) >>> 0);
}

describe("virtio-pmem", () => {
  test("flushes reach the file where the kernel denies io_uring", async () => {
    const path = makeFile("without-uring.raw");
    const args = await vmmArguments("pmem", { cmdline: `size=${SIZE} first=0x42`, extra: ["--pmem", `file=${path}`] });
    const command = [...(await withoutSyscalls([Sys.io_uring_setup])), vmmPath(), ...args];
    expectPass(await new PayloadProcess(command, 60_000).outcome());
    expectWritten(path);
  });

  test("a file is the guest's memory: what it writes and flushes is in the file, disks reach it", async () => {
    const path = makeFile("shared.raw");
    const disk = join(folder, "disk.raw");
    writeFileSync(disk, "");
    truncateSync(disk, MIB);
    const outcome = await runOnVmm("pmem", {
      cmdline: `size=${SIZE} first=0x42`,
      extra: ["--pmem", `file=${path}`, "--disk", `path=${disk},image_type=raw`],
    });
    expectPass(outcome);
    // Above 512 MiB of RAM and the hole, near enough for a kernel with address space randomization.
    expect(resultNumber(outcome, "start")).toBe(0x1_0000_0000);
    expectWritten(path);
  });

  test("discard_writes keeps the file as it was", async () => {
    const path = makeFile("private.raw");
    const before = readFileSync(path);
    expectPass(
      await runOnVmm("pmem", {
        cmdline: `size=${SIZE} first=0x42`,
        extra: ["--pmem", `file=${path},discard_writes=on`],
      }),
    );
    expect(readFileSync(path).equals(before)).toBeTrue();
  });

  test("a directory gets a file that nobody else sees", async () => {
    const scratch = mkdtempSync(join(folder, "scratch-"));
    expectPass(
      await runOnVmm("pmem", {
        cmdline: `size=${2 * MIB} first=0`,
        extra: ["--pmem", `file=${scratch},size=2M`],
      }),
    );
    expect(readdirSync(scratch)).toEqual([]);
  });

  test("part of a file, the second of two devices above the first", async () => {
    const path = makeFile("part.raw", 8 * MIB);
    const other = makeFile("other.raw");
    expectPass(
      await runOnVmm("pmem", {
        cmdline: `size=${2 * MIB} first=0x42`,
        extra: ["--pmem", `file=${path},size=2M`, `file=${other},id=second`],
      }),
    );
    expect(readFileSync(path).readUInt32LE(2 * MIB + 16)).toBe(0);
  });

  test("every defect of descriptors and rings", async () => {
    const outcome = await runOnVmm("hostile_queues", {
      cmdline: "seed=5 rounds=20",
      extra: ["--pmem", `file=${makeFile("hostile.raw")}`],
    });
    expectPass(outcome);
    expect(resultNumber(outcome, "devices")).toBe(2);
  });

  test("a guest in the middle of flushes is paused, and goes on in a machine built anew", async () => {
    const host = inProcessHost();
    const path = makeFile("moved.raw");
    const kernel = await buildPayload("pmem");
    let saved: SavedVm | undefined;
    for (let life = 0; ; life++) {
      const output = new SerialOutput(folder, `serial${life}`);
      const config = configOf([
        ...["--kernel", kernel, "--cmdline", `size=${SIZE} first=0x42 wait=ram`, "--memory", "size=64M"],
        ...["--serial", `file=${output.path}`, "--console", "null", "--pmem", `file=${path}`],
      ]);
      const vm = new TestVm(config, host, saved);
      await vm.start();
      const { over } = vm;
      if (saved === undefined) await Promise.race([output.waitFor("READY"), over]);
      for (let i = 0; i < 20; i++) {
        vm.pause();
        vm.resume();
      }
      vm.pause();
      if (life === 2) {
        vm.memory?.writeU32(GO_ON, 1);
        vm.resume();
        expect(await over).toBe("power-off");
        vm.close();
        expect(await output.all()).toContain("PASS");
        break;
      }
      saved = { ...vm.save(), fillMemory: copyMemory(vm.memory) };
      vm.stop();
      expect(await over).toBe("stopped");
      vm.close();
    }
    host.threads.close();
    expectWritten(path);
  });
});
