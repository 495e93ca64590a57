import { afterEach, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { unlessGone } from "../unit/unless-gone.ts";
import { buildPayload } from "./build.ts";
import { eventually } from "./eventually.ts";
import { OnTerminal } from "./on-terminal.ts";
import { vmmArguments, vmmPath } from "./vmm.ts";

const O_NONBLOCK = 0o4000;
const PATIENCE_MS = 20_000;
const GUARD = "cloud-hypervisor-launcher";

let terminals: OnTerminal[] = [];
afterEach(() => {
  for (const terminal of terminals) terminal.close();
  terminals = [];
});

async function start(command: readonly string[], stty?: string): Promise<OnTerminal> {
  const terminal = await OnTerminal.start(command, stty);
  terminals.push(terminal);
  return terminal;
}

/** A guest that waits for a byte at its serial port, on a terminal that it has. */
async function startWaiting(...more: readonly string[]): Promise<OnTerminal> {
  const terminal = await start([vmmPath(), ...(await vmmArguments("reboot", { extra: more }))]);
  await terminal.says("BOOT");
  expect(terminal.settings).not.toBe(terminal.before);
  return terminal;
}

/** The process that watches over the terminal, once it is there. */
function guardOf(terminal: OnTerminal): Promise<number> {
  return eventually("the guard", PATIENCE_MS, () =>
    terminal.helpers.find((pid) => readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith(GUARD)),
  );
}

describe("the terminal is raw while the guest runs, and restored", () => {
  test("after power-off", async () => {
    const terminal = await startWaiting();
    terminal.type("q");
    expect(await terminal.end()).toBe(0);
    expect(terminal.settings).toBe(terminal.before);
    await terminal.alone();
  });

  test("after resets, between which it stays raw, and power-off", async () => {
    const terminal = await startWaiting();
    const raw = terminal.settings;
    const guard = await guardOf(terminal);
    for (const source of ["a", "i", "c", "t"]) {
      terminal.type(source);
      await terminal.says("BOOT");
      expect(terminal.settings).toBe(raw);
    }
    expect(terminal.helpers).toEqual([guard]);
    terminal.type("q");
    expect(await terminal.end()).toBe(0);
    expect(terminal.settings).toBe(terminal.before);
    await terminal.alone();
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const)
    test(`after ${signal}`, async () => {
      const terminal = await startWaiting();
      terminal.kill(signal);
      expect(await terminal.end()).toBe(0);
      expect(terminal.settings).toBe(terminal.before);
      await terminal.alone();
    });

  test("before an error is printed that a thread finds when the guest has the terminal", async () => {
    const cpus = "boot=1,affinity=[0@[8000]]";
    const terminal = await start([vmmPath(), ...(await vmmArguments("reboot", { cpus }))]);
    expect(await terminal.end()).toBe(1);
    expect(terminal.settings).toBe(terminal.before);
    // Lines start at the left only on a terminal that is not raw.
    await terminal.says("chain of errors:\r\n  0: thread vcpu0 failed\r\n  1: ");
    await terminal.alone();
  });

  test("with an error before the guest starts, which never touches it", async () => {
    const terminal = await start([vmmPath(), "--kernel", "/nonexistent", "--serial", "tty"]);
    expect(await terminal.end()).toBe(1);
    expect(terminal.settings).toBe(terminal.before);
    expect(terminal.helpers).toEqual([]);
  });

  test("before the error of a reboot that fails is printed", async () => {
    const folder = await scratchDir("terminal");
    const kernel = join(folder, "kernel");
    copyFileSync(await buildPayload("reboot"), kernel);
    const terminal = await start([vmmPath(), "--kernel", kernel, "--serial", "tty", "--console", "off"]);
    await terminal.says("BOOT");
    rmSync(folder, { recursive: true });
    terminal.type("a");
    expect(await terminal.end()).toBe(1);
    expect(terminal.settings).toBe(terminal.before);
    await terminal.says("exited with the following chain of errors:\r\n  0: cannot open the kernel");
    await terminal.alone();
  });

  for (const [kind, text] of [
    ["listener", "0: a listener failed\r\n  1: on purpose\r\n"],
    ["promise", "0: a promise failed\r\n  1: on purpose\r\n"],
    ["vcpu", "0: thread vcpu0 failed\r\n  1: "],
  ] as const)
    test(`before an error is printed that nobody expects: ${kind}`, async () => {
      const script = join(import.meta.dir, "faulty-vmm.ts");
      // Bun would keep what it makes of sources, which no filter of ours lets it.
      const bun = ["env", "BUN_RUNTIME_TRANSPILER_CACHE_PATH=0", process.execPath];
      const terminal = await start([...bun, script, kind, ...(await vmmArguments("reboot"))]);
      await terminal.says("BOOT");
      expect(terminal.settings).not.toBe(terminal.before);
      await guardOf(terminal);
      terminal.kill("SIGUSR2");
      expect(await terminal.end()).toBe(1);
      expect(terminal.settings).toBe(terminal.before);
      await terminal.says(`exited with the following chain of errors:\r\n  ${text}`);
      await terminal.alone();
    });

  test("by a VMM that stays when the guest has powered off", async () => {
    const argv = await vmmArguments("console", { serial: "off", console: "tty", extra: ["--no-shutdown"] });
    const terminal = await start([vmmPath(), ...argv]);
    await terminal.says("READY");
    terminal.type("quit\n");
    await terminal.restored();
    terminal.resize(100, 50);
    terminal.kill("SIGTERM");
    expect(await terminal.end()).toBe(0);
    expect(terminal.settings).toBe(terminal.before);
    await terminal.alone();
  });

  test("and left as other programs expect it: waiting for input", async () => {
    const argv = await vmmArguments("hello");
    const script = '"$@"; cat /proc/self/fdinfo/0';
    const terminal = await start(["sh", "-c", script, "sh", vmmPath(), ...argv]);
    expect(await terminal.end()).toBe(0);
    await terminal.says("flags:");
    const flags = /flags:\s+(\d+)/.exec(terminal.output)?.[1] ?? "";
    expect(Number.parseInt(flags, 8) & O_NONBLOCK).toBe(0);
  });
});

describe("the terminal's guard", () => {
  for (const signal of ["SIGKILL", "SIGHUP"] as const)
    test(`restores it after ${signal} to the VMM, and ends`, async () => {
      const terminal = await startWaiting();
      await guardOf(terminal);
      terminal.kill(signal);
      expect(await terminal.end()).toBe(signal);
      await terminal.restored();
      await terminal.alone();
      expect(terminal.settings).toBe(terminal.before);
    });

  test("restores it after the VMM of a guest that has rebooted is killed", async () => {
    const terminal = await startWaiting();
    terminal.type("a");
    await terminal.says("BOOT");
    terminal.kill("SIGKILL");
    expect(await terminal.end()).toBe("SIGKILL");
    await terminal.restored();
    await terminal.alone();
  });

  test("leaves a terminal alone that somebody else has changed meanwhile", async () => {
    const terminal = await startWaiting();
    await guardOf(terminal);
    const changed = Uint8Array.fromHex(terminal.settings);
    // The first input flag: IGNBRK.
    changed[0] = (changed[0] ?? 0) ^ 1;
    terminal.settings = changed.toHex();
    terminal.kill("SIGKILL");
    expect(await terminal.end()).toBe("SIGKILL");
    await terminal.alone();
    expect(terminal.settings).toBe(changed.toHex());
  });

  test("does not end with signals to the whole group, and holds no file of the VMM's", async () => {
    const terminal = await startWaiting();
    const guard = await guardOf(terminal);
    await eventually("the guard's deafness", PATIENCE_MS, () =>
      ignores(guard, 1) && ignores(guard, 15) ? true : undefined,
    );
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const) process.kill(guard, signal);
    const files = readdirSync(`/proc/${guard}/fd`).flatMap(
      (fd) => unlessGone(() => readlinkSync(`/proc/${guard}/fd/${fd}`)) ?? [],
    );
    expect(files.filter((file) => /kvm|memfd|pts/.test(file))).toEqual([readlinkSync(`/proc/${terminal.pid}/fd/1`)]);
    terminal.kill("SIGKILL");
    await terminal.end();
    await terminal.restored();
    await terminal.alone();
  });

  test("is not missed by a VMM whose guard was killed, which says so", async () => {
    const log = join(await scratchDir("terminal"), "log");
    const terminal = await startWaiting("--log-file", log);
    const guard = await guardOf(terminal);
    process.kill(guard, "SIGKILL");
    await eventually("the log", PATIENCE_MS, () =>
      readFileSync(log, "latin1").includes("the launcher has ended (SIGKILL)") ? true : undefined,
    );
    expect(existsSync(`/proc/${guard}`)).toBeFalse();
    terminal.type("a");
    await terminal.says("BOOT");
    expect(terminal.helpers).toEqual([]);
    terminal.kill("SIGTERM");
    expect(await terminal.end()).toBe(0);
    expect(terminal.settings).toBe(terminal.before);
    rmSync(dirname(log), { recursive: true });
  });
});

function ignores(pid: number, signal: number): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
  return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

describe("input and size", () => {
  test("control characters reach the guest's console, and the terminal echoes nothing", async () => {
    const argv = await vmmArguments("console", { serial: "off", console: "tty" });
    const terminal = await start([vmmPath(), ...argv]);
    await terminal.says("READY size=80,25\n");
    const from = terminal.output.length;
    // Interrupt, end of file, suspend, quit, stop, start, kill, erase and both line ends.
    const typed = "\x03\x04\x1a\x1c\x13\x11\x15\x7f\r\n\x18";
    terminal.type(typed);
    await terminal.says(typed);
    expect(terminal.output.slice(from)).toBe(typed);
    terminal.type("quit\n");
    expect(await terminal.end()).toBe(0);
    expect(terminal.settings).toBe(terminal.before);
  });

  test("a new size reaches the guest by itself", async () => {
    const argv = await vmmArguments("console", { serial: "off", console: "tty" });
    const terminal = await start([vmmPath(), ...argv]);
    await terminal.says("READY size=80,25");
    for (const [columns, rows] of [
      [132, 43],
      [1, 1],
      [1000, 600],
    ] as const) {
      terminal.resize(columns, rows);
      await terminal.says(`SIZE ${columns} ${rows}`);
    }
    terminal.type("quit\n");
    expect(await terminal.end()).toBe(0);
  });

  test("a terminal of both serial port and console: output of both, input to the serial port", async () => {
    const terminal = await start([
      vmmPath(),
      ...(await vmmArguments("console", { console: "tty", cmdline: "wait=1" })),
    ]);
    await terminal.says("--console and --serial share the terminal: their output will mix, input goes to --serial");
    await terminal.says("READY size=80,25");
    terminal.type("quit\n");
    // The console gets none of it, and the guest gives up.
    await terminal.says("FAIL no input");
    expect(await terminal.end()).toBe(0);
    const other = await start([vmmPath(), ...(await vmmArguments("reboot", { console: "tty" }))]);
    await other.says("BOOT");
    other.type("q");
    expect(await other.end()).toBe(0);
  });

  test("single keys reach the serial port", async () => {
    const terminal = await startWaiting();
    terminal.type("i");
    await terminal.says("BOOT");
    terminal.type("q");
    expect(await terminal.end()).toBe(0);
  });
});
