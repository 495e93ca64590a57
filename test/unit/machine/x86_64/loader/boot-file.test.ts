import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BootFile } from "../../../../../src/machine/x86_64/loader/boot-file.ts";
import { BootFileError, BootSpaceError } from "../../../../../src/machine/x86_64/loader/errors.ts";
import { loadInitramfs, placeInitramfs } from "../../../../../src/machine/x86_64/loader/initramfs.ts";
import { loadKernel } from "../../../../../src/machine/x86_64/loader/kernel.ts";
import { gpa } from "../../../../../src/memory/address.ts";
import { TestRam } from "./ram.ts";

const MIB = 2 ** 20;
let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "boot-file-test-"));
  mkdirSync(join(dir, "directory"));
  writeFileSync(join(dir, "file"), "0123456789");
  symlinkSync("loop", join(dir, "loop"));
  const { status } = spawnSync("mkfifo", [join(dir, "fifo")]);
  if (status !== 0) throw new Error("mkfifo failed");
});
afterAll(() => rmSync(dir, { recursive: true }));

const failure = async (path: string, role: "kernel" | "firmware" = "kernel"): Promise<unknown> =>
  loadKernel(path, role, new TestRam(MIB), { unpack: new Set() }).catch((error: unknown) => error);

describe("what cannot be booted", () => {
  test.each([
    ["missing", "there is no such file; check --kernel"],
    ["file/below", "a part of the path is not a directory; check --kernel"],
    ["loop", "too many symbolic links; check --kernel"],
    ["directory", "is a directory: give --kernel a file"],
    ["fifo", "is a FIFO: give --kernel a file"],
  ])("%s", async (name, message) => {
    const error = await failure(join(dir, name));
    expect(error).toBeInstanceOf(BootFileError);
    expect(String(error)).toContain(join(dir, name));
    expect(String(error)).toContain(message);
  });

  test("an empty path, a device, a path with a NUL", async () => {
    expect(await failure("")).toBeInstanceOf(BootFileError);
    expect(String(await failure("/dev/zero", "firmware"))).toContain("is not a regular file: give --firmware a file");
    expect(await failure("a\0b")).toBeInstanceOf(BootFileError);
  });

  test("a cause is kept", async () => {
    const error = await failure(join(dir, "missing"));
    expect(error instanceof Error && error.cause).toBeInstanceOf(Error);
  });
});

describe("reading", () => {
  test("at any position", () => {
    using file = new BootFile(join(dir, "file"), "initramfs");
    expect(file.size).toBe(10);
    expect(Buffer.from(file.read(3, 4)).toString()).toBe("3456");
    expect(Buffer.from(file.read(0, 2)).toString()).toBe("01");
  });

  test("a file that becomes shorter", () => {
    const path = join(dir, "shrinking");
    writeFileSync(path, "0123456789");
    using file = new BootFile(path, "kernel");
    truncateSync(path, 5);
    expect(() => file.read(3, 4)).toThrow(BootFileError);
  });
});

describe("initramfs", () => {
  const kernel = { base: gpa(MIB), length: MIB };

  test.each([
    ["at the top, on a page", 0x1001, 8 * MIB, 8 * MIB - 0x2000],
    ["whole pages", 0x2000, 8 * MIB, 8 * MIB - 0x2000],
    ["right above the kernel", 6 * MIB, 8 * MIB, 2 * MIB],
    ["a region that ends inside a page", 0x1000, 8 * MIB + 1, 8 * MIB - 0x1000],
    ["below the hole", 64 * MIB, 3 * 2 ** 30, 3 * 2 ** 30 - 64 * MIB],
  ])("%s", (_, size, region, expected) => {
    expect(placeInitramfs(size, region, [kernel])).toBe(gpa(expected));
  });

  test("right below a kernel", () => {
    expect(placeInitramfs(MIB, 8 * MIB, [{ base: gpa(8 * MIB), length: MIB }])).toBe(gpa(7 * MIB));
  });

  test.each([
    ["over the kernel", 6 * MIB + 1, 8 * MIB],
    ["larger than the region", 8 * MIB + 1, 8 * MIB],
    ["in low memory", 8 * MIB - 0x1000, 8 * MIB],
    ["a size that no file has", 2 ** 60, 8 * MIB],
  ])("%s it does not fit", (_, size, region) => {
    expect(placeInitramfs(size, region, [kernel])).toBeUndefined();
  });

  test("low memory is not for it, even without a kernel there", () => {
    expect(placeInitramfs(7 * MIB, 8 * MIB, [])).toBe(gpa(MIB));
    expect(placeInitramfs(7 * MIB + 1, 8 * MIB, [])).toBeUndefined();
  });

  test("is loaded", () => {
    const ram = new TestRam(4 * MIB);
    expect(loadInitramfs(join(dir, "file"), ram, 4 * MIB, [kernel])).toEqual({
      base: gpa(4 * MIB - 0x1000),
      length: 10,
    });
    expect(ram.text(4 * MIB - 0x1000, 12)).toBe("0123456789\0\0");
  });

  test("one without bytes is there as well", () => {
    writeFileSync(join(dir, "empty"), "");
    const ram = new TestRam(4 * MIB);
    expect(loadInitramfs(join(dir, "empty"), ram, 4 * MIB, [kernel])).toEqual({ base: gpa(4 * MIB), length: 0 });
    expect(ram.written).toBe(0);
  });

  test("errors say what to do", () => {
    const path = join(dir, "large");
    writeFileSync(path, "");
    truncateSync(path, 2 ** 40);
    const ram = new TestRam(4 * MIB);
    expect(() => loadInitramfs(path, ram, 4 * MIB, [])).toThrow(BootSpaceError);
    expect(() => loadInitramfs(path, ram, 4 * MIB, [])).toThrow("give --memory a larger size");
    expect(() => loadInitramfs(join(dir, "missing"), ram, 4 * MIB, [])).toThrow("check --initramfs");
    expect(ram.written).toBe(0);
  });
});
