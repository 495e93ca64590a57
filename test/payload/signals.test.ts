import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, constants, mkdtempSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { failureChain, markedEnvironment, newMark, processesMarked, runCommand } from "./command.ts";
import { eventually } from "./eventually.ts";
import { monitorThreads, threadNames } from "./threads.ts";
import { startOnVmm, type VmmOptions, vmmArguments, vmmPath } from "./vmm.ts";

const PATIENCE_MS = 20_000;
/** How long something is watched that must not happen. */
const WATCH_MS = 300;
const SIGTERM = 15;

let folder: string;
beforeAll(() => {
  // FIFOs are made here, which a file system that is shared with an emulated host does not have.
  folder = mkdtempSync(join(tmpdir(), "signals-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** The monitor with its output in pipes. */
class Running {
  readonly process: Subprocess<"ignore", "pipe", "pipe">;
  readonly #mark = newMark();
  readonly #streams: Promise<unknown>;
  stdout = "";
  stderr = "";

  constructor(args: readonly string[]) {
    this.process = Bun.spawn([vmmPath(), ...args], {
      cwd: folder,
      env: markedEnvironment(this.#mark),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#streams = Promise.all([
      collect(this.process.stdout, (text) => {
        this.stdout += text;
      }),
      collect(this.process.stderr, (text) => {
        this.stderr += text;
      }),
    ]);
  }

  /** A guest that has started and waits. */
  static async waiting(options: VmmOptions = {}): Promise<Running> {
    const vmm = new Running(await vmmArguments("reboot", options));
    await vmm.until("the guest's first line", () => vmm.stdout.includes("BOOT\n"));
    return vmm;
  }

  until(what: string, look: () => boolean): Promise<true> {
    return eventually(what, PATIENCE_MS, () => (look() ? true : undefined));
  }

  /** How it ended. Kills it when it does not end by itself. */
  async end(): Promise<{ status: number | string; left: readonly number[] }> {
    const timer = setTimeout(() => this.process.kill("SIGKILL"), PATIENCE_MS);
    const status = await this.process.exited;
    await this.#streams;
    clearTimeout(timer);
    return { status: this.process.signalCode ?? status, left: processesMarked(this.#mark) };
  }
}

async function collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>, take: (text: string) => void): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) take(text);
}

const ENDED = { status: 0, left: [] };

/** Whether the process has taken a signal into its own hands. */
function catches(pid: number, signal: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
  return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

describe("SIGTERM and SIGINT end the VMM in good order", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${signal} while the guest runs`, async () => {
      const vmm = await Running.waiting();
      vmm.process.kill(signal);
      expect(await vmm.end()).toEqual(ENDED);
      expect(vmm.stderr).toBe("");
    });

    test(`${signal} twice and more`, async () => {
      const vmm = await Running.waiting({ cpus: "boot=4" });
      for (let i = 0; i < 5; i++) vmm.process.kill(signal);
      expect(await vmm.end()).toEqual(ENDED);
      expect(vmm.stderr).toBe("");
    });
  }

  /** Points of the start, as far as they can be seen from outside. */
  const points: readonly (readonly [string, (vmm: Running) => boolean])[] = [
    ["as soon as it is listened to", () => true],
    [
      "when the first thread of a vCPU is there",
      ({ process }) => threadNames(process.pid).some((name) => /^vcpu/.test(name)),
    ],
    ["when the guest's first byte is there", ({ stdout }) => stdout !== ""],
  ];
  for (const [when, reached] of points)
    for (const payload of ["reboot", "hello"])
      test(`SIGTERM during the start of ${payload}, ${when}`, async () => {
        const vmm = new Running(await vmmArguments(payload, { cpus: "boot=2" }));
        const { pid } = vmm.process;
        await vmm.until("a handler", () => catches(pid, SIGTERM));
        await vmm.until(when, () => vmm.process.exitCode !== null || reached(vmm));
        vmm.process.kill("SIGTERM");
        expect(await vmm.end()).toEqual(ENDED);
        expect(vmm.stderr).toBe("");
      });

  test("at any time after that", async () => {
    const args = await vmmArguments("reboot");
    const warm = await Running.waiting();
    warm.process.kill("SIGTERM");
    await warm.end();
    for (let delay = 0; delay < 60; delay += 4) {
      const vmm = new Running(args);
      await vmm.until("a handler", () => catches(vmm.process.pid, SIGTERM));
      await Bun.sleep(delay);
      vmm.process.kill("SIGTERM");
      expect({ delay, ...(await vmm.end()), stderr: vmm.stderr }).toEqual({ delay, ...ENDED, stderr: "" });
    }
  });
});

describe("other signals", () => {
  for (const signal of ["SIGHUP", "SIGQUIT", "SIGKILL"] as const)
    test(`${signal} kills it; no process and no file is left`, async () => {
      const before = readdirSync(folder);
      const vmm = await Running.waiting();
      vmm.process.kill(signal);
      expect(await vmm.end()).toEqual({ status: signal, left: [] });
      expect(readdirSync(folder)).toEqual(before);
    });

  test("SIGWINCH, SIGPIPE and SIGCHLD do nothing to a VMM without a terminal", async () => {
    const vmm = await Running.waiting();
    for (const signal of ["SIGWINCH", "SIGPIPE", "SIGCHLD"] as const) vmm.process.kill(signal);
    expect(await Promise.race([vmm.process.exited, Bun.sleep(WATCH_MS)])).toBeUndefined();
    vmm.process.kill("SIGTERM");
    expect(await vmm.end()).toEqual(ENDED);
  });
});

describe("--no-shutdown", () => {
  test("the VMM stays when the guest has powered off, until SIGTERM", async () => {
    const vmm = new Running(await vmmArguments("hello", { extra: ["--no-shutdown", "-v"] }));
    await vmm.until("the power-off", () => vmm.stderr.includes("the VM is over: powerOff"));
    expect(vmm.stdout).toContain("PASS\n");
    expect(await Promise.race([vmm.process.exited, Bun.sleep(WATCH_MS)])).toBeUndefined();
    vmm.process.kill("SIGTERM");
    expect(await vmm.end()).toEqual(ENDED);
    expect(vmm.stderr).toContain("cloud-hypervisor exited successfully\r\n");
  });

  test("without it the VMM ends with the guest", async () => {
    const vmm = new Running(await vmmArguments("hello"));
    expect(await vmm.end()).toEqual(ENDED);
  });
});

const REBOOTS = 24;
/** Reboots after which everything that a VMM keeps for the next life is there. */
const WARM_REBOOTS = 4;
/** Mappings that the JavaScript engine may make for its heap and its compiled code. */
const ENGINE_MAPPINGS = 12;
/** A source that left one behind would leave five; the I/O thread opens its own a moment after the guest's first line. */
const DESCRIPTORS = 4;

test(`${REBOOTS} reboots by every source leave no descriptor, thread or mapping behind`, async () => {
  const machine = await startOnVmm("reboot", { terminal: true, cpus: "boot=2" });
  const boot = (line: string): boolean => line === "BOOT";
  const held = () => ({
    descriptors: readdirSync(`/proc/${machine.pid}/fd`).length,
    // The engine starts threads of its own when it likes.
    threads: monitorThreads(machine.pid).length,
    mappings: readFileSync(`/proc/${machine.pid}/maps`, "latin1").split("\n").length,
  });
  let warm = held();
  await machine.nextLine(boot);
  for (let life = 1; life <= REBOOTS; life++) {
    machine.write("aict"[life % 4] ?? "a");
    await machine.nextLine(boot);
    if (life === WARM_REBOOTS) warm = held();
  }
  const { descriptors, threads, mappings } = held();
  expect(threads).toBe(3);
  expect(warm.threads).toBe(3);
  expect(descriptors - warm.descriptors).toBeLessThanOrEqual(DESCRIPTORS);
  expect(mappings - warm.mappings).toBeLessThanOrEqual(ENGINE_MAPPINGS);
  machine.write("q");
  expect(await machine.outcome()).toMatchObject({ exitCode: 0, passed: true });
});

test("SIGTERM at any time of a reboot ends the VMM in good order", async () => {
  for (let delay = 0; delay < 40; delay += 4) {
    const machine = await startOnVmm("reboot", { terminal: true });
    await machine.nextLine((line) => line === "BOOT");
    machine.write("a");
    await Bun.sleep(delay);
    machine.signal("SIGTERM");
    const { exitCode, failures } = await machine.outcome();
    expect({ delay, exitCode, failures }).toEqual({ delay, exitCode: 0, failures: [] });
  }
});

describe("standard streams that are not there", () => {
  for (const closed of ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    test(`closed: ${closed}`, async () => {
      const prefix = ["sh", "-c", `exec "$@" ${closed}`, "sh"];
      const outcome = await runCommand(await vmmArguments("hello"), { prefix });
      expect(outcome).toMatchObject({ exitCode: 0, stderr: "", left: [] });
      if (!closed.includes(">&-") || closed === "2>&-") expect(outcome.stdout).toContain("PASS\n");
      const failure = await runCommand(["--kernel", "/nonexistent"], { prefix });
      expect(failure).toMatchObject({ exitCode: 1, stdout: "", left: [] });
    });

  test("closed descriptors do not become the VMM's own: nothing is written into them", async () => {
    const args = await vmmArguments("reboot");
    const command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", vmmPath(), ...args];
    const vmm = Bun.spawn(command, { stdio: ["ignore", "pipe", "pipe"] });
    const link = (fd: number): string => readFileSync(`/proc/${vmm.pid}/fdinfo/${fd}`, "latin1");
    await eventually("vCPU thread", PATIENCE_MS, () => (threadNames(vmm.pid).includes("vcpu0") ? true : undefined));
    for (const fd of [0, 1, 2]) expect(link(fd)).toMatch(/^pos:/);
    expect([0, 1, 2].map((fd) => linkOf(vmm.pid, fd))).toEqual(["/dev/null", "/dev/null", "/dev/null"]);
    vmm.kill("SIGTERM");
    expect(await vmm.exited).toBe(0);
  });

  for (const stream of ["stdout", "stderr"] as const)
    test(`${stream} is a pipe that nobody reads any more`, async () => {
      const path = join(folder, `pipe-${stream}`);
      Bun.spawnSync(["mkfifo", path]);
      const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const writer = openSync(path, constants.O_WRONLY);
      closeSync(reader);
      const run = async (args: readonly string[]): Promise<number> => {
        const stdio: ["ignore", number | "ignore", number | "ignore"] =
          stream === "stdout" ? ["ignore", writer, "ignore"] : ["ignore", "ignore", writer];
        return Bun.spawn([vmmPath(), ...args], { stdio }).exited;
      };
      expect(await run([...(await vmmArguments("hello")), "-vvv"])).toBe(0);
      expect(await run(["--kernel", "/nonexistent"])).toBe(1);
      expect(await run(["--help"])).toBe(0);
      expect(await run(["--nonsense"])).toBe(2);
      closeSync(writer);
    });

  test("a full disk behind stdout and stderr", async () => {
    const full = (): number => openSync("/dev/full", constants.O_WRONLY);
    const run = async (args: readonly string[]): Promise<number> =>
      Bun.spawn([vmmPath(), ...args], { stdio: ["ignore", full(), full()] }).exited;
    expect(await run([...(await vmmArguments("hello")), "-v"])).toBe(0);
    expect(await run(["--kernel", "/nonexistent"])).toBe(1);
    expect(await run(["--version"])).toBe(0);
  });

  test("a full pipe that does not block is waited for", async () => {
    const path = join(folder, "full");
    Bun.spawnSync(["mkfifo", path]);
    const pipe = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const filling = fill(pipe);
    const vmm = Bun.spawn([vmmPath(), "--help"], { stdio: ["ignore", pipe, "ignore"] });
    const reader = Bun.spawn(["cat", path], { stdio: ["ignore", "pipe", "ignore"] });
    const first = reader.stdout.text();
    expect(await vmm.exited).toBe(0);
    closeSync(pipe);
    expect((await first).slice(filling)).toBe((await runCommand(["--help"])).stdout);
  });
});

/** Writes until no more fits. @returns how many bytes that were */
function fill(pipe: number): number {
  let written = 0;
  for (;;)
    try {
      written += writeSync(pipe, ".");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EAGAIN") return written;
      throw error;
    }
}

function linkOf(pid: number, fd: number): string {
  return Bun.spawnSync(["readlink", `/proc/${pid}/fd/${fd}`])
    .stdout.toString()
    .trim();
}

describe("the log", () => {
  const record = /^cloud-hypervisor: {1,9}\d+\.\d{6}s: <([^>]+)> (ERROR|WARN|INFO|DEBUG|TRACE):\S+ -- .*\r$/;

  async function levels(...options: readonly string[]): Promise<{ levels: Set<string>; lines: string[] }> {
    const { exitCode, stderr } = await runCommand(await vmmArguments("hello", { extra: options }));
    expect(exitCode).toBe(0);
    const lines = stderr.split("\n").slice(0, -1);
    return { levels: new Set(lines.map((line) => record.exec(line)?.[2] ?? line)), lines };
  }

  test("is silent by default, and says more with each -v", async () => {
    expect((await levels()).lines).toEqual([]);
    const info = await levels("-v");
    expect([...info.levels]).toEqual(["INFO"]);
    expect(info.lines[0]).toMatch(/<main> INFO:\S+ -- cloud-hypervisor v?\d/);
    expect(info.lines.at(-1)).toMatch(/exited successfully\r$/);
    for (const more of [["-v", "-v"], ["-vv"], ["-vvv"], ["-vvvvv"]]) {
      const { levels: seen, lines } = await levels(...more);
      expect(lines.length).toBeGreaterThanOrEqual(info.lines.length);
      expect([...seen].filter((level) => !["INFO", "DEBUG", "TRACE"].includes(level))).toEqual([]);
    }
  });

  test("goes to --log-file alone, failures included, which stderr tells too", async () => {
    const file = join(folder, "vmm.log");
    const good = await runCommand(await vmmArguments("hello", { extra: ["-v", "--log-file", file] }));
    expect(good).toMatchObject({ exitCode: 0, stderr: "" });
    expect(
      readFileSync(file, "latin1")
        .split("\n")
        .slice(0, -1)
        .every((line) => record.test(line)),
    ).toBeTrue();
    const bad = await runCommand(["--kernel", "/nonexistent", "--log-file", file]);
    expect(bad).toMatchObject({ exitCode: 1, stdout: "" });
    expect(bad.stderr).toStartWith("Error: Cloud Hypervisor exited");
    expect(failureChain(bad.stderr)[0]).toContain("/nonexistent");
    const text = readFileSync(file, "latin1");
    expect(text).toMatch(/^cloud-hypervisor: .* <main> ERROR:\S+ -- BootFileError \{.*\r\n$/);
  });
});
