import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fioDisk } from "../lab/guest-programs.ts";
import { needsKvmHost, needsLab } from "../lab/hardware.ts";
import { LabError, runInLab } from "../lab/host.ts";
import { scratchDir } from "../setup/cache.ts";
import { guestAssets } from "../setup/guest-assets.ts";
import { hostAssets } from "../setup/host-assets.ts";
import { ensurePackages } from "../setup/packages.ts";
import { addTallies, failure, judge, NOTHING, type Tally } from "./junit.ts";
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
  return status === 0 ? { ...NOTHING, passed: 1 } : failure(command.join(" "));
}

interface TestRun {
  /** Folders or files of tests. */
  readonly tests: readonly string[];
  /** Variables that the tests are run with, more than there are. */
  readonly variables?: Readonly<Record<string, string>>;
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
async function runBunTestOnce(run: TestRun): Promise<Tally> {
  const { tests, variables = {}, testTimeoutMs, timeoutMs, emulated, verbose } = run;
  const dir = await scratchDir("report");
  try {
    const report = join(dir, "junit.xml");
    const command = [
      ...(["env", ...Object.entries(variables).map(([name, value]) => `${name}=${value}`)] as const),
      ...[process.execPath, "test", ...tests.map((test) => `./${test}`), `--timeout=${testTimeoutMs}`],
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

/** Payloads that are run again on VMMs confined by Landlock: all that open files, run programs or have something plugged in. */
const UNDER_LANDLOCK = ["boot", "consoles", "hotplug", "pmem", "reset", "terminal", "user-net", "vsock"];

async function runPayloads(run: Pick<TestRun, "tests" | "variables">): Promise<Tally> {
  await ensurePackages(["gcc", "binutils", "iproute2", "libc6-dev", "qemu-utils"]);
  const { emulated, reason } = needsKvmHost();
  if (emulated) await ensurePackages(["fish", "mandoc", "passt", "swtpm", "zsh"]);
  console.log(`payload: ${emulated ? "in the emulated KVM host" : "on this machine"}: ${reason}`);
  return runBunTest({ ...run, testTimeoutMs: MINUTE_MS, timeoutMs: 15 * MINUTE_MS, emulated, verbose: true });
}

/** What tests of the lab install as they come to it: the emulated host has no network to fetch it by. */
const LAB_PACKAGES = ["dnsmasq-base", "iperf3", "iproute2", "passt", "qemu-utils", "socat", "swtpm"] as const;

/** Limits for all cases and for one file of them: three times what two idle cores take. CH_LAB_FULL=1 has much longer cases. */
const [CASES_MS, FILE_MS] =
  process.env["CH_LAB_FULL"] === "1" ? [120 * MINUTE_MS, 40 * MINUTE_MS] : [40 * MINUTE_MS, 10 * MINUTE_MS];
const CASES = "test/lab/cases";

/** Emulated, each file of cases has a host of its own: one that dies takes no other with it. */
async function runCases(emulated: boolean): Promise<Tally> {
  const started = performance.now();
  const files = (await readdir(join(checkout, CASES))).filter((name) => name.endsWith(".test.ts")).sort();
  let tally = NOTHING;
  for (const tests of emulated ? files.map((name) => [join(CASES, name)]) : [[CASES]]) {
    const leftMs = Math.ceil(CASES_MS - (performance.now() - started));
    const testTimeoutMs = 5 * MINUTE_MS;
    const timeoutMs = emulated ? Math.min(leftMs, FILE_MS) : leftMs;
    const run = { tests, testTimeoutMs, timeoutMs, emulated, verbose: true };
    tally = addTallies(tally, leftMs > 0 ? await runBunTest(run) : failure(`${tests}: there was no time left`));
  }
  return tally;
}

export const PARTS: readonly Part[] = [
  {
    name: "check",
    needsBuild: false,
    run: async () => {
      const biome = await runAsTest(["node_modules/.bin/biome", "check", "--error-on-warnings", "."], 2 * MINUTE_MS);
      const types = await runAsTest(["node_modules/.bin/tsc", "--noEmit"], 2 * MINUTE_MS);
      return addTallies(biome, types);
    },
  },
  {
    name: "unit",
    needsBuild: false,
    run: async () => {
      await ensurePackages(["gcc", "libc6-dev", "acpica-tools", "qemu-utils"]);
      return runBunTest({
        tests: ["test/unit"],
        testTimeoutMs: 30_000,
        timeoutMs: 12 * MINUTE_MS,
        emulated: false,
        verbose: false,
      });
    },
  },
  {
    name: "fuzz",
    needsBuild: false,
    run: async () => {
      await ensurePackages(["qemu-utils"]);
      return runBunTest({
        tests: ["test/fuzz"],
        testTimeoutMs: MINUTE_MS,
        timeoutMs: 12 * MINUTE_MS,
        emulated: false,
        verbose: true,
      });
    },
  },
  {
    name: "payload",
    needsBuild: true,
    run: () => runPayloads({ tests: ["test/payload"] }),
  },
  {
    name: "landlock",
    needsBuild: true,
    run: () =>
      runPayloads({
        tests: UNDER_LANDLOCK.map((name) => `test/payload/${name}.test.ts`),
        variables: { CH_TEST_LANDLOCK: "1" },
      }),
  },
  {
    name: "lab",
    needsBuild: true,
    run: async () => {
      const { emulated, reason } = await needsLab();
      console.log(`lab: ${emulated ? "in the emulated KVM host" : "on this machine"}: ${reason}`);
      await ensurePackages(LAB_PACKAGES);
      for (const series of ["6.1", "6.12"] as const) await guestAssets(series);
      await fioDisk();
      if (emulated) await hostAssets();
      return runCases(emulated);
    },
  },
];

/** Builds dist/cloud-hypervisor. */
export async function build(): Promise<boolean> {
  return (await runChild([process.execPath, "build.ts"], { cwd: checkout, timeoutMs: 3 * MINUTE_MS })) === 0;
}
