import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { ApiClient } from "../../../src/api/client/api-client.ts";
import { ensurePackages } from "../../setup/packages.ts";
import { Console } from "../console.ts";
import { Guest } from "../guest.ts";
import { cloudHypervisor } from "../vmm.ts";
import { assetsOf, CASE_TIMEOUT_MS, vmm, Workspace } from "./support.ts";

const PATIENCE_MS = 30_000;

/** A program of the host on a console's end: socat, as users have it. */
class Client implements Disposable {
  readonly console: Console;
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;

  constructor(address: string) {
    this.#process = Bun.spawn(["socat", "STDIO", address], { stdio: ["pipe", "pipe", "inherit"] });
    this.console = new Console((text) => {
      this.#process.stdin.write(text);
      this.#process.stdin.flush();
    });
    this.#pump();
  }

  /** Types a command to the shell there and waits for what it is to print. */
  async run(command: string, output: RegExp): Promise<RegExpExecArray> {
    this.console.type(`${command}\n`);
    return this.console.waitFor(output, PATIENCE_MS);
  }

  [Symbol.dispose](): void {
    this.#process.kill();
  }

  async #pump(): Promise<void> {
    for await (const chunk of this.#process.stdout) this.console.feed(chunk);
  }
}

/** Puts an interactive shell on a terminal of the guest, as a getty does. */
const shellOn = (device: string): string => `(setsid sh -c 'exec sh -i </dev/${device} >/dev/${device} 2>&1' &)`;

/** A sum that no echo of the command contains. */
const ANSWER = /\b4242\b/;
const QUESTION = "echo $((4000 + 242))";

describe.if(vmm.name === cloudHypervisor.name)("every console mode is driven by a real client", () => {
  test(
    "the virtio console on a pseudo-terminal beside a serial port on the terminal: a shell, its size, and a reboot",
    async () => {
      await ensurePackages(["socat"]);
      await using workspace = await Workspace.make();
      const api = workspace.path("api.sock");
      await using guest = await Guest.start(vmm, {
        assets: await assetsOf("6.12"),
        kernelFormat: "vmlinux",
        vcpus: 1,
        memoryMiB: 512,
        console: "ttyS0",
        otherConsole: "pty",
        disks: [],
        options: ["--api-socket", api],
      });
      await guest.ready();
      const client = new ApiClient(api);
      const path = (): string =>
        JSON.parse(client.request({ method: "GET", endpoint: "vm.info" }).body).config.console.file;
      const pty = path();
      expect(pty).toMatch(/^\/dev\/pts\/\d+$/);
      await guest.run(shellOn("hvc0"));
      {
        using user = new Client(`FILE:${pty},raw,echo=0`);
        await user.run(QUESTION, ANSWER);
        // Any program may set the size of the terminal.
        Bun.spawnSync(["stty", "-F", pty, "cols", "117", "rows", "37"]);
        for (let size = ""; size !== "37 117"; ) size = (await user.run("stty size", /^(\d+ \d+)\r$/m))[1] ?? "";
      }
      // A program that comes later finds the same shell, and what was said meanwhile.
      await guest.run("echo said to nobody >/dev/hvc0");
      {
        using user = new Client(`FILE:${pty},raw,echo=0`);
        await user.console.waitFor(/said to nobody/, PATIENCE_MS);
        await user.run(QUESTION, ANSWER);
      }
      await guest.reboot();
      expect(path()).toBe(pty);
      await guest.run(shellOn("hvc0"));
      using user = new Client(`FILE:${pty},raw,echo=0`);
      await user.run(QUESTION, ANSWER);
      expect(await guest.powerOff()).toBe(0);
      expect(existsSync(pty)).toBeFalse();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "the serial port on a socket beside a virtio console on the terminal: clients come, go and stall",
    async () => {
      await ensurePackages(["socat"]);
      await using workspace = await Workspace.make();
      const path = workspace.path("serial.sock");
      await using guest = await Guest.start(vmm, {
        assets: await assetsOf("6.12"),
        kernelFormat: "vmlinux",
        vcpus: 1,
        memoryMiB: 512,
        console: "hvc0",
        otherConsole: `socket=${path}`,
        disks: [],
      });
      await guest.ready();
      await guest.run("stty -F /dev/ttyS0 115200; echo early >/dev/ttyS0");
      await guest.run(shellOn("ttyS0"));
      {
        using user = new Client(`UNIX-CONNECT:${path}`);
        await user.console.waitFor(/early/, PATIENCE_MS);
        await user.run(QUESTION, ANSWER);
        // As long as the shell there takes a line, typed at once.
        const typed = "0123456789".repeat(80);
        await user.run(`echo -n '${typed}' | wc -c`, /\b800\r/);
      }
      using user = new Client(`UNIX-CONNECT:${path}`);
      await user.run(QUESTION, ANSWER);
      // Typed on the terminal as well, a key at a time.
      for (const key of "echo keys\n") guest.console.type(key);
      await guest.console.waitFor(/keys\r*\n<lab status=0>/, PATIENCE_MS);
      expect(await guest.powerOff()).toBe(0);
      expect(existsSync(path)).toBeFalse();
    },
    CASE_TIMEOUT_MS,
  );
});
