import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vmmPath } from "./vmm.ts";

describe("cloud-hypervisor disk", () => {
  const cases: readonly (readonly [readonly string[], number, string])[] = [
    [[], 2, "a command is required"],
    [["--help"], 0, "convert"],
    [["info"], 2, "give an image"],
    [["info", "--wrong", "disk"], 2, "--wrong"],
    [["info", "missing"], 1, "there is no such file"],
    [["info", "--json", "disk"], 0, '"virtual-size": 1024'],
    [["convert", "disk", "new"], 0, ""],
    [["convert", "disk", "disk"], 1, "disk exists"],
    [["wrong"], 2, "unrecognized command 'wrong'"],
  ];
  test.each(cases)("%j", async (argv, status, text) => {
    const folder = await mkdtemp(join(tmpdir(), "disk-tool-"));
    try {
      await Bun.write(join(folder, "disk"), new Uint8Array(1024));
      const { exitCode, stdout, stderr } = Bun.spawnSync([vmmPath(), "disk", ...argv], { cwd: folder });
      expect([exitCode, `${stdout}${stderr}`.includes(text)]).toEqual([status, true]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
