import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { buildPayload } from "./build.ts";
import { configOf, inProcessHost, SerialOutput, TestLife } from "./in-process.ts";

const host = inProcessHost();
afterAll(() => host.threads.close());

const TIMEOUT_MS = 60_000;
const MIB = 1 << 20;

let folder: string;
beforeEach(async () => {
  folder = await scratchDir("payload-resize-disk");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A life of the payload on a disk of 16 MiB, `id` data, and what its guest says. */
async function start(
  changes: number,
  options: string,
): Promise<{ life: TestLife; output: SerialOutput; disk: string }> {
  const disk = join(folder, "disk.raw");
  await Bun.write(disk, "");
  await truncate(disk, 16 * MIB);
  const output = new SerialOutput(folder, "serial");
  const life = new TestLife(
    configOf([
      ...["--kernel", await buildPayload("resize"), "--cmdline", `changes=${changes}`, "--memory", "size=64M"],
      ...["--serial", `file=${output.path}`, "--console", "off"],
      ...["--disk", `path=${disk},id=data,image_type=raw${options}`],
    ]),
    host,
  );
  await life.start();
  return { life, output, disk };
}

describe("a disk that changes its size", () => {
  test(
    "the guest is told, and has all of the new size and nothing behind it: larger, smaller, paused, beyond 2 TiB",
    async () => {
      const { life, output, disk } = await start(5, "");
      const resize = (size: number): void => life.resizeDisk({ id: "data", desired_size: size });
      await output.waitFor("SIZE 32768\n");
      resize(24 * MIB);
      await output.waitFor("SIZE 49152\n");
      expect(statSync(disk).size).toBe(24 * MIB);
      resize(8 * MIB);
      await output.waitFor("SIZE 16384\n");
      expect(statSync(disk).size).toBe(8 * MIB);
      life.pause();
      resize(8 * MIB + 512);
      life.resume();
      await output.waitFor("SIZE 16385\n");
      resize(3 * 2 ** 40);
      await output.waitFor("SIZE 6442450944\n");
      resize(512);
      await output.waitFor("SIZE 1\n");
      expect(await life.over).toBe("powerOff");
      life.close();
      expect(await output.all()).toContain("PASS");
      expect(statSync(disk).size).toBe(512);
    },
    TIMEOUT_MS,
  );

  test(
    "what cannot be is refused, and nothing changes",
    async () => {
      const { life, output, disk } = await start(1, ",sparse=off");
      const resize = (id: string, size: number) => () => life.resizeDisk({ id, desired_size: size });
      await output.waitFor("SIZE 32768\n");
      expect(resize("none", MIB)).toThrow("there is no device 'none'");
      expect(resize("__rng", MIB)).toThrow("there is no device '__rng'");
      for (const size of [0, 511, 1000, 2 ** 53, 2 ** 64, -512, Number.NaN])
        expect(resize("data", size)).toThrow("no size for a disk: give a multiple of 512 above 0");
      expect(resize("data", 2 ** 53 - 512)).toThrow("the image cannot be made 9007199254740480 bytes long");
      expect(statSync(disk).size).toBe(16 * MIB);
      resize("data", 17 * MIB)();
      await output.waitFor("SIZE 34816\n");
      // Without holes, as the disk was asked for.
      expect(statSync(disk).blocks * 512).toBeGreaterThanOrEqual(17 * MIB);
      expect(await life.over).toBe("powerOff");
      life.close();
      expect(await output.all()).toContain("PASS");
    },
    TIMEOUT_MS,
  );
});
