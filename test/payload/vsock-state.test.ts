import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Vm } from "../../src/vmm/vm.ts";
import { buildPayload } from "./build.ts";
import { configOf, copyMemory, inProcessHost, SerialOutput, TestVm } from "./in-process.ts";
import { echo, VsockHost } from "./vsock-host.ts";

const folder = mkdtempSync(join(tmpdir(), "payload-vsock-"));
const vmHost = inProcessHost();
afterAll(() => {
  vmHost.threads.close();
  rmSync(folder, { recursive: true });
});

const ECHO_PORT = 7;
const QUIT_PORT = 9;
const TIMEOUT_MS = 60_000;
const MIB = 1 << 20;

describe("a guest with a socket device", () => {
  const configure = async (host: VsockHost, output: SerialOutput, cmdline = "") =>
    configOf([
      ...["--kernel", await buildPayload("vsock"), "--memory", "size=128M", "--cmdline", cmdline],
      ...["--serial", `file=${output.path}`, "--console", "null", ...host.options],
    ]);

  const end = async (host: VsockHost, vm: Vm, over: Promise<string>): Promise<void> => {
    (await host.connect(QUIT_PORT)).destroy();
    expect(await over).toBe("power-off");
    vm.close();
  };

  test(
    "moved to another machine: the guest is told that its connections are over, those of the host are closed, new ones work",
    async () => {
      await using host = await VsockHost.make();
      await host.serveEcho(52);
      const before = new SerialOutput(folder, "before");
      const first = new TestVm(await configure(host, before, "count=1 bytes=1"), vmHost);
      const firstOver = first.run();
      await before.waitFor("DIALLED");
      const open = await host.connect(ECHO_PORT);
      const closed = new Promise<void>((close) => open.on("end", close).on("error", () => close()));
      open.resume().write("x");
      await new Promise((back) => open.once("data", back));
      first.pause();
      const saved = { ...first.save(), fillMemory: copyMemory(first.memory) };
      first.stop();
      expect(await firstOver).toBe("stopped");
      first.close();
      await closed;
      await before.all();

      const after = new SerialOutput(folder, "after");
      const second = new TestVm(await configure(host, after), vmHost, saved);
      const over = second.run();
      await after.waitFor(`RST ${ECHO_PORT}`);
      expect((await echo(await host.connect(ECHO_PORT), Buffer.from("again"))).toString()).toBe("again");
      await end(host, second, over);
      expect(await after.all()).toContain("PASS");
    },
    TIMEOUT_MS,
  );

  test(
    "paused and resumed while streams go both ways: nothing is lost",
    async () => {
      await using host = await VsockHost.make();
      const output = new SerialOutput(folder, "paused");
      const vm = new TestVm(await configure(host, output), vmHost);
      const over = vm.run();
      await output.waitFor("READY");
      const bytes = crypto.getRandomValues(new Uint8Array(65536));
      const sent = Buffer.concat(Array.from({ length: 2 * (MIB / bytes.length) }, () => bytes));
      let done = false;
      const echoes = Promise.all([1, 2, 3].map(async () => echo(await host.connect(ECHO_PORT), sent))).finally(() => {
        done = true;
      });
      let pauses = 0;
      while (!done) {
        vm.pause();
        vm.resume();
        pauses++;
        await Bun.sleep(1);
      }
      for (const back of await echoes) expect(Buffer.compare(back, sent)).toBe(0);
      expect(pauses).toBeGreaterThan(3);
      await end(host, vm, over);
      expect(await output.all()).toContain("PASS");
    },
    TIMEOUT_MS,
  );
});
