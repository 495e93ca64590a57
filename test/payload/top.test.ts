import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { ApiVmm } from "./api-vmm.ts";
import { eventually } from "./eventually.ts";
import { OnTerminal } from "./on-terminal.ts";
import { CH_REMOTE } from "./vmm.ts";

const PATIENCE_MS = 20_000;
const ENTER = "\x1b[?1049h";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const FRAME = "\x1b[?2026h\x1b[H";

/** The disk's row of a guest that reads, with or without colour. */
const READS = /data +\S* *[1-9][\d.]* [KMG]iB/;

let left: (() => void)[] = [];
afterEach(() => {
  for (const undo of left) undo();
  left = [];
});

/** `ch-remote top` on a terminal of 80 columns and 25 rows. */
async function start(vmm: ApiVmm, env: Readonly<Record<string, string>> = {}): Promise<OnTerminal> {
  const command = [CH_REMOTE, "--api-socket", join(vmm.folder, "api.sock"), "top", "-d", "0.1"];
  const terminal = await OnTerminal.start(command, "intr ^X", { TERM: "xterm", NO_COLOR: "", ...env });
  left.push(() => terminal.close());
  return terminal;
}

/** Waits for a whole frame that is drawn from now on and that has all the texts in it. */
function frame(terminal: OnTerminal, ...texts: readonly (string | RegExp)[]): Promise<string> {
  const from = terminal.output.length;
  return eventually(`${texts} in a frame`, PATIENCE_MS, () =>
    terminal.output
      .slice(from)
      .split(FRAME)
      .slice(1, -1)
      .find((drawn) => texts.every((text) => (typeof text === "string" ? drawn.includes(text) : text.test(drawn)))),
  );
}

/** A monitor with a guest that is not booted yet: it reads from its disk for as long as it lives. */
async function monitor(): Promise<ApiVmm> {
  const vmm = await ApiVmm.start("--no-shutdown");
  const path = join(vmm.folder, "disk");
  await Bun.write(path, new Uint8Array(1 << 20));
  const disks = [{ path, id: "data", image_type: "Raw" }];
  const cmdline = "op=randread bs=4096 qd=8 seconds=600 warm_ms=0";
  vmm.put("vm.create", await vmm.config("blkbench", cmdline, { disks }));
  return vmm;
}

test("top shows a VM through its life, and its size, and gives the terminal back", async () => {
  await using vmm = await monitor();
  const terminal = await start(vmm);
  await frame(terminal, "not booted", `pid ${vmm.process.pid}`);
  expect(terminal.output).toContain(ENTER);
  expect(terminal.settings).not.toBe(terminal.before);
  vmm.put("vm.boot");
  const running = await frame(terminal, "running", "of 1 vCPU", READS);
  expect(running).toContain("\x1b[32mrunning");
  vmm.put("vm.pause");
  await frame(terminal, "paused");
  vmm.put("vm.resume");
  vmm.put("vm.reboot");
  await frame(terminal, "running");
  terminal.resize(40, 8);
  const small = await frame(terminal, "vCPU");
  await eventually(
    "a frame of the new size",
    PATIENCE_MS,
    () => terminal.output.split(FRAME).at(-2)?.split("\r\n").length === 8 || undefined,
  );
  expect(small).not.toContain("IRQ/s");
  vmm.put("vm.delete");
  await frame(terminal, "no VM");
  terminal.type("q");
  expect(await terminal.end()).toBe(0);
  expect(terminal.output.endsWith(LEAVE)).toBeTrue();
  expect(terminal.settings).toBe(terminal.before);
}, 60_000);

test("top gives the terminal back however it ends", async () => {
  await using vmm = await monitor();
  const ends: readonly (readonly [(terminal: OnTerminal) => void, number])[] = [
    [(terminal) => terminal.type("\x03"), 0],
    [(terminal) => terminal.kill("SIGTERM"), 143],
    // The last one: the VMM goes away.
    [() => vmm.process.kill("SIGKILL"), 1],
  ];
  for (const [end, status] of ends) {
    const terminal = await start(vmm, { NO_COLOR: "1" });
    const drawn = await frame(terminal, "not booted");
    for (const colour of [1, 2, 7, 31, 32, 33]) expect(drawn).not.toContain(`\x1b[${colour}m`);
    end(terminal);
    expect(await terminal.end()).toBe(status);
    expect(terminal.output).toContain(LEAVE);
    expect(terminal.settings).toBe(terminal.before);
    if (status === 1) await terminal.says("does not answer");
  }
}, 60_000);

test("top prints plain lines for pipes, and where a terminal can do no more", async () => {
  await using vmm = await monitor();
  vmm.put("vm.boot");
  await eventually("the first read", PATIENCE_MS, () => vmm.json("GET", "vm.counters").data.read_ops > 0 || undefined);
  const command = [CH_REMOTE, "--api-socket", join(vmm.folder, "api.sock"), "top"];
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command, "-n", "2", "-d", "0.1"]);
  expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
  const frames = stdout.toString().split(/^(?=ch-remote top)/m);
  expect(frames).toHaveLength(2);
  for (const text of frames) {
    expect(text).toMatch(/^vCPU .*\n0 +\[/m);
    expect(text).toMatch(READS);
    expect(text).not.toContain("\x1b");
  }
  const dumb = await start(vmm, { TERM: "dumb" });
  await dumb.says("ch-remote top");
  dumb.kill("SIGINT");
  expect(await dumb.end()).toBe("SIGINT");
  expect(dumb.output).not.toContain("\x1b");
  // A reader that goes away ends it.
  const piped = Bun.spawn(["sh", "-c", '"$@" -d 0.1 | head -n 1', "sh", ...command], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  left.push(() => piped.kill("SIGKILL"));
  expect(await piped.stdout.text()).toStartWith("ch-remote top");
  expect(await piped.exited).toBe(0);
  for (const [option, value] of [
    ["-n", "0"],
    ["-d", "0"],
    ["-d", "1e9"],
  ] as const) {
    const refused = Bun.spawnSync([...command, option, value]);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr.toString()).toContain(`'${value}'`);
  }
}, 60_000);
