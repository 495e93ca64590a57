import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SavedVm } from "../../src/vmm/vm.ts";
import { ensurePackages } from "../setup/packages.ts";
import { buildPayload } from "./build.ts";
import { failureChain, runCommand } from "./command.ts";
import { expectPass } from "./expect.ts";
import { configOf, copyMemory, inProcessHost, SerialOutput, TestVm } from "./in-process.ts";
import { runOnVmm, startOnVmm, vmmArguments } from "./vmm.ts";

let folder: string;
let count = 0;

beforeAll(async () => {
  await ensurePackages(["swtpm"]);
  folder = mkdtempSync(join(tmpdir(), "payload-tpm-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** A server of the TPM's, and where it listens. */
class Server implements AsyncDisposable {
  readonly socket = join(folder, `swtpm${count++}.sock`);
  readonly #child: Bun.Subprocess<"ignore", "pipe", "ignore">;

  private constructor(command: (socket: string) => readonly string[]) {
    this.#child = Bun.spawn([...command(this.socket)], { stdio: ["ignore", "pipe", "ignore"] });
  }

  static async swtpm(): Promise<Server> {
    const state = mkdtempSync(join(folder, "state-"));
    const server = new Server((socket) => [
      ...["swtpm", "socket", "--tpm2", "--tpmstate", `dir=${state}`],
      ...["--ctrl", `type=unixio,path=${socket}`, "--log", "level=0"],
    ]);
    while (
      !(await Bun.file(server.socket)
        .stat()
        .then(
          () => true,
          () => false,
        ))
    )
      await Bun.sleep(5);
    return server;
  }

  static async fake(behaviour: string): Promise<Server> {
    const server = new Server((socket) => [
      process.execPath,
      join(import.meta.dir, "fake-swtpm.ts"),
      socket,
      behaviour,
    ]);
    await server.#child.stdout.getReader().read();
    return server;
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

const runTpm = (server: Server, mode: string) =>
  runOnVmm("tpm", { cmdline: `mode=${mode}`, extra: ["--tpm", `socket=${server.socket}`] });

describe("a TPM", () => {
  test("gives random bytes, and refuses what is no command, whatever is written meanwhile; again after a restart", async () => {
    await using server = await Server.swtpm();
    expectPass(await runTpm(server, "works"));
    expectPass(await runTpm(server, "works"));
  });

  test("whose swtpm is gone fails its commands, and the VM goes on", async () => {
    await using server = await Server.swtpm();
    const machine = await startOnVmm("tpm", {
      cmdline: "mode=gone",
      extra: ["--tpm", `socket=${server.socket}`],
      terminal: true,
    });
    await machine.nextLine((line) => line === "READY");
    await server.end();
    machine.write("\n");
    expectPass(await machine.outcome());
  });

  test("takes long without holding up the vCPU, and can be told to give up", async () => {
    await using server = await Server.fake("cancellable");
    expectPass(await runTpm(server, "cancel"));
  });

  test.each(["garbage", "long", "cut", "talks"])(
    "whose swtpm breaks the protocol (%s) fails its commands",
    async (how) => {
      await using server = await Server.fake(how);
      expectPass(await runTpm(server, "fails"));
    },
  );

  test("takes a command again that was under way when the machine was saved", async () => {
    const host = inProcessHost();
    await using silent = await Server.fake("silent");
    await using server = await Server.swtpm();
    const kernel = await buildPayload("tpm");
    const start = async (socket: string, serial: string, saved?: SavedVm) => {
      const output = new SerialOutput(folder, serial);
      const config = configOf([
        ...["--kernel", kernel, "--cmdline", "mode=moved", "--memory", "size=64M", "--tpm", `socket=${socket}`],
        ...["--serial", `file=${output.path}`, "--console", "null"],
      ]);
      const vm = new TestVm(config, host, saved);
      await vm.start();
      return { vm, output };
    };
    const first = await start(silent.socket, "first");
    await first.output.waitFor("READY");
    first.vm.pause();
    const saved = { ...first.vm.save(), fillMemory: copyMemory(first.vm.memory) };
    first.vm.stop();
    expect(await first.vm.over).toBe("stopped");
    first.vm.close();
    const second = await start(server.socket, "second", saved);
    expect(await second.vm.over).toBe("power-off");
    second.vm.close();
    host.threads.close();
    expect(await second.output.all()).toContain("PASS");
  });

  test.each([
    ["hangs-up", /it hangs up at request 1/],
    ["refuses", /it fails request 2 with 0x9/],
    ["old", /its control channel lacks requests/],
    ["tpm-1.2", /TPM2_Startup fails with 0x1e: is it a TPM 2.0/],
  ])("is refused before the guest starts when swtpm is none: %s", async (how, expected) => {
    await using server = await Server.fake(how);
    const args = await vmmArguments("tpm", { extra: ["--tpm", `socket=${server.socket}`] });
    const { exitCode, stdout, stderr, left } = await runCommand(args);
    expect({ exitCode, stdout, left }).toEqual({ exitCode: 1, stdout: "", left: [] });
    expect(failureChain(stderr).join("\n")).toMatch(/give --tpm the control socket of a running swtpm/);
    expect(failureChain(stderr).join("\n")).toMatch(expected);
  });
});
