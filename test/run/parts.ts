import { rm } from "node:fs/promises";
import { join } from "node:path";
import { needsKvmHost, needsLab } from "../lab/hardware.ts";
import { LabError, runInLab } from "../lab/host.ts";
import { scratchDir } from "../setup/cache.ts";
import { guestAssets } from "../setup/guest-assets.ts";
import { hostAssets } from "../setup/host-assets.ts";
import { ensurePackages } from "../setup/packages.ts";
import { judge, type Tally } from "./junit.ts";
import { runChild } from "./process.ts";

const MINUTE_MS = 60_000;
const checkout = join(import.meta.dir, "../..");

export interface Part {
  readonly name: string;
  /** Needs dist/cloud-hypervisor. */
  readonly needsBuild: boolean;
  readonly run: () => Promise<Tally>;
}

/** Runs a program that is a test as a whole, such as the linter. */
async function runAsTest(command: readonly [string, ...string[]], timeoutMs: number): Promise<Tally> {
  const status = await runChild(command, { cwd: checkout, timeoutMs });
  return { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0 };
}

interface TestRun {
  readonly folder: string;
  /** Limit for one test where it sets none itself. */
  readonly testTimeoutMs: number;
  /** Limit for the whole part: beyond, it is stopped and counts as failed. */
  readonly timeoutMs: number;
  readonly emulated: boolean;
  /** Show each test as it ends, where a test takes seconds; else only those that fail. */
  readonly verbose: boolean;
}

/** QEMU's emulation of a processor now and then brings its kernel down; a host that goes down every time is a failure. */
const HOST_LIVES = 3;

async function runBunTest(run: TestRun): Promise<Tally> {
  for (let life = 1; ; life++) {
    try {
      return await runBunTestOnce(run);
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
      console.error(error.message);
      if (!error.hostDied || life === HOST_LIVES) return judge(undefined, 125);
      console.error(`The emulated KVM host is started again: ${HOST_LIVES - life} more times at most`);
    }
  }
}

/** @throws LabError */
async function runBunTestOnce({ folder, testTimeoutMs, timeoutMs, emulated, verbose }: TestRun): Promise<Tally> {
  const dir = await scratchDir("report");
  try {
    const report = join(dir, "junit.xml");
    const command = [
      ...([process.execPath, "test", `./${folder}`, `--timeout=${testTimeoutMs}`] as const),
      ...(verbose ? [] : ["--only-failures"]),
      ...["--reporter=junit", `--reporter-outfile=${report}`],
    ] as const;
    const status = emulated
      ? (await runInLab(command, { cwd: checkout, timeoutMs })).status
      : await runChild(command, { cwd: checkout, timeoutMs });
    const file = Bun.file(report);
    return judge((await file.exists()) ? await file.text() : undefined, status);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

export const PARTS: readonly Part[] = [
  {
    name: "check",
    needsBuild: false,
    run: async () => {
      const biome = await runAsTest(["node_modules/.bin/biome", "check", "--error-on-warnings", "."], 2 * MINUTE_MS);
      const types = await runAsTest(["node_modules/.bin/tsc", "--noEmit"], 2 * MINUTE_MS);
      return { passed: biome.passed + types.passed, failed: biome.failed + types.failed, skipped: 0 };
    },
  },
  {
    name: "unit",
    needsBuild: false,
    run: async () => {
      await ensurePackages(["gcc", "libc6-dev", "acpica-tools", "qemu-utils"]);
      return runBunTest({
        folder: "test/unit",
        testTimeoutMs: 30_000,
        timeoutMs: 6 * MINUTE_MS,
        emulated: false,
        verbose: false,
      });
    },
  },
  {
    name: "payload",
    needsBuild: true,
    run: async () => {
      await ensurePackages(["gcc", "binutils", "iproute2", "libc6-dev", "qemu-utils"]);
      const { emulated, reason } = needsKvmHost();
      console.log(`payload: ${emulated ? "in the emulated KVM host" : "on this machine"}: ${reason}`);
      return runBunTest({
        folder: "test/payload",
        testTimeoutMs: MINUTE_MS,
        timeoutMs: 10 * MINUTE_MS,
        emulated,
        verbose: true,
      });
    },
  },
  {
    name: "lab",
    needsBuild: true,
    run: async () => {
      const { emulated, reason } = await needsLab();
      console.log(`lab: ${emulated ? "in the emulated KVM host" : "on this machine"}: ${reason}`);
      for (const series of ["6.1", "6.12"] as const) await guestAssets(series);
      if (emulated) await hostAssets();
      const { CH_LAB_FULL } = process.env;
      const timeoutMs = (CH_LAB_FULL === "1" ? 120 : 20) * MINUTE_MS;
      return runBunTest({ folder: "test/lab/cases", testTimeoutMs: 5 * MINUTE_MS, timeoutMs, emulated, verbose: true });
    },
  },
];

/** Builds dist/cloud-hypervisor. */
export async function build(): Promise<boolean> {
  return (await runChild([process.execPath, "build.ts"], { cwd: checkout, timeoutMs: 3 * MINUTE_MS })) === 0;
}
