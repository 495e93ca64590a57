import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SysError } from "../../../src/host/errno.ts";
import { HANDLER_CODE, onEveryThread } from "../../../src/host/every-thread.ts";
import { FsRight, landlockAbi, missingIn, NEWEST_ABI, rightsOf, rulesetOf } from "../../../src/host/landlock.ts";
import { Sys } from "../../../src/host/syscall-numbers.ts";

function withFolder<T>(act: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "landlock-"));
  try {
    return act(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("what a version of Landlock denies", () => {
  const all = { denyTcp: true, denySignals: true };

  // Documentation/userspace-api/landlock.rst, "Previous limitations".
  test.each([
    { abi: 1, fs: 0x1fff, net: 0, scoped: 0, missing: 5 },
    { abi: 2, fs: 0x3fff, net: 0, scoped: 0, missing: 4 },
    { abi: 3, fs: 0x7fff, net: 0, scoped: 0, missing: 3 },
    { abi: 4, fs: 0x7fff, net: 3, scoped: 0, missing: 2 },
    { abi: 5, fs: 0xffff, net: 3, scoped: 0, missing: 1 },
    { abi: 6, fs: 0xffff, net: 3, scoped: 1, missing: 0 },
    { abi: 7, fs: 0xffff, net: 3, scoped: 1, missing: 0 },
    // What is not known yet is left to those who know it.
    { abi: 9, fs: 0xffff, net: 3, scoped: 1, missing: 0 },
  ])("version $abi", ({ abi, missing, ...expected }) => {
    expect(rulesetOf(abi, 0, all)).toEqual(expected);
    expect(rightsOf(abi)).toBe(expected.fs);
    expect(missingIn(abi)).toHaveLength(missing);
  });

  test("signals and TCP only when asked for; signals where threads of one process can still signal each other", () => {
    expect(rulesetOf(6, 0b10, all).scoped).toBe(3);
    expect(rulesetOf(6, 0b101, all).scoped).toBe(1);
    expect(rulesetOf(5, 0b10, all).scoped).toBe(0);
    expect(rulesetOf(NEWEST_ABI, 0b10, { ...all, denyTcp: false })).toMatchObject({ net: 0, scoped: 3 });
    expect(rulesetOf(NEWEST_ABI, 0b10, { ...all, denySignals: false })).toMatchObject({ net: 3, scoped: 1 });
    expect(missingIn(3).join()).toContain("ioctls");
  });

  test("rights are the kernel's", () => {
    const header = "/usr/include/linux/landlock.h";
    const text = readFileSync(header, "utf8");
    const bits = [...text.matchAll(/^#define LANDLOCK_ACCESS_FS_(\w+)\s+\(1ULL << (\d+)\)/gm)];
    expect(bits.length).toBeGreaterThan(10);
    for (const [, name = "", bit] of bits)
      if (name in FsRight)
        expect({ name, right: FsRight[name as keyof typeof FsRight] }).toEqual({ name, right: 2 ** Number(bit) });
  });
});

describe("a process that confines itself", () => {
  const abi = landlockAbi();
  const results = withFolder((folder) => {
    for (const name of ["readable", "writable", "other"]) writeFileSync(join(folder, name), "text");
    mkdirSync(join(folder, "folder"));
    const script = join(import.meta.dir, "confined.ts");
    const { stdout, stderr } = Bun.spawnSync([process.execPath, script, folder], { timeout: 30_000 });
    const text = stdout.toString();
    if (text === "") throw new Error(`no results: ${stderr}`);
    return JSON.parse(text);
  });

  test("can do what its rules allow, and nothing else", () => {
    expect(results).toMatchObject({
      ...{ read: "ok", write: "ok", make: "ok", readOther: "EACCES", writeReadable: "EACCES", makeElsewhere: "EACCES" },
      ...{ makeFolder: "EACCES", remove: "EACCES", procOther: "EACCES", run: "EACCES" },
      truncate: abi >= 3 ? "EACCES" : "ok",
      tcp: abi >= 4 ? "EACCES" : "ECONNREFUSED",
    });
    expect(results.move).not.toBe("ok");
  });

  test("so can threads that were there before, and those that come later", () => {
    expect(results.earlyWorker).toEqual(["ok", "EACCES"]);
    expect(results.lateWorker).toEqual(["ok", "EACCES"]);
  });

  test("every thread of it, the runtime's own as well, has given up its privileges", () => {
    // The runtime's heap and compiler threads, and the two workers.
    expect(results.threads).toBeGreaterThan(4);
    expect(results.noNewPrivs).toEqual(["1"]);
    const isRoot = process.getuid?.() === 0;
    const kept = isRoot ? "0000000000000002" : "0000000000000000";
    expect(results).toMatchObject({ capEff: [kept], capPrm: [kept] });
    if (isRoot) expect(results.capBnd).toEqual([kept]);
    expect(results.coreLimit).toEqual(["0", "0"]);
  });
});

describe("acting on every thread", () => {
  test("a call that fails is told by its name", () => {
    const bad = { number: Sys.prctl, args: [1_000_000, 0, 0, 0, 0], what: "do the impossible" };
    expect(() => onEveryThread([bad])).toThrow(new SysError(22, "do the impossible"));
    // And it can be done again.
    expect(() => onEveryThread([{ number: Sys.gettid, args: [], what: "ask for the id" }])).not.toThrow();
  });

  test("the handler is the code that its comments say", () => {
    withFolder((folder) => {
      const source = readFileSync(join(import.meta.dir, "../../../src/host/every-thread.ts"), "utf8");
      const lines = [...source.matchAll(/^\s*(?:0x[0-9a-f]{2}, )+\/\/\s*(.*)$/gm)].map(([, text = ""]) => text);
      writeFileSync(join(folder, "code.s"), `.intel_syntax noprefix\n${lines.join("\n")}\n`);
      const { success, stderr } = Bun.spawnSync(
        ["sh", "-c", "as -o code.o code.s && objcopy -O binary -j .text code.o code.bin"],
        { cwd: folder },
      );
      expect({ success, stderr: stderr.toString() }).toEqual({ success: true, stderr: "" });
      const { handler, restorer } = HANDLER_CODE;
      expect([...readFileSync(join(folder, "code.bin"))]).toEqual([...handler, ...restorer]);
    });
  });
});
