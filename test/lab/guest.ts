import { chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findTool, SetupError } from "../setup/exec.ts";
import { Console, ConsoleError } from "./console.ts";
import { describeThreads } from "./process-state.ts";
import type { GuestSpec, VmmDriver } from "./vmm.ts";

/** What the guest says of itself when its session starts (test/setup/guest/session). */
export interface GuestReport {
  /** Seconds from the kernel's start to the session. */
  readonly uptimeSeconds: number;
  readonly cpus: number;
  readonly memoryKiB: number;
  /** What is mounted on /: `rootfs` in the initramfs. */
  readonly root: string;
  readonly kernel: string;
  /** Milliseconds from the start of the VMM, or from the moment a reboot was asked for, as seen from outside. */
  readonly wallMs: number;
}

export interface CommandResult {
  readonly status: number;
  readonly output: string;
}

/** Emulated two levels deep, a boot takes 10 to 20 s; this is where it is taken for a hang. */
const BOOT_TIMEOUT_MS = 120_000;
const COMMAND_TIMEOUT_MS = 60_000;
const EXIT_TIMEOUT_MS = 60_000;

/** Words before a command that run it as an ordinary user; it still dies with us, which a change of user would undo. */
function asUser(id: number | undefined): string[] {
  if (id === undefined) return [];
  const identity = [`--reuid=${id}`, `--regid=${id}`, "--clear-groups", "--inh-caps=-all", "--pdeathsig=KILL"];
  return ["setpriv", ...identity, "--"];
}

/** A guest under a VMM, driven through its console. Make with `Guest.start`; `await using` ends the VMM whatever happens. */
export class Guest implements AsyncDisposable {
  readonly console: Console;
  readonly #driver: VmmDriver;
  readonly #runDir: string;
  readonly #child: Bun.Subprocess;
  #since: number;

  private constructor(driver: VmmDriver, command: string[], runDir: string, mirror?: (chunk: Uint8Array) => void) {
    const setpriv = findTool("setpriv");
    if (setpriv === undefined) throw new SetupError("setpriv (util-linux) is needed");
    this.#driver = driver;
    this.#runDir = runDir;
    this.console = new Console((text) => this.#child.terminal?.write(text));
    this.#since = performance.now();
    this.#child = Bun.spawn([setpriv, "--pdeathsig", "KILL", ...command], {
      terminal: {
        cols: 132,
        rows: 43,
        data: (_terminal, chunk) => {
          mirror?.(chunk);
          this.console.feed(chunk);
        },
        exit: () => this.console.close(`the VMM closed its terminal (status ${this.#child.exitCode ?? "unknown"})`),
      },
    });
  }

  /** The VMM's process. */
  get vmmPid(): number {
    return this.#child.pid;
  }

  /** Starts a VMM with this guest. @param mirror gets what the console shows, as it comes */
  static async start(driver: VmmDriver, spec: GuestSpec, mirror?: (chunk: Uint8Array) => void): Promise<Guest> {
    const runDir = await mkdtemp(join(tmpdir(), "guest-"));
    const withAgent = { ...spec, cmdline: [...(spec.cmdline ?? []), "lab.agent"] };
    if (spec.user !== undefined) await chown(runDir, spec.user.id, spec.user.id);
    const command = [...(spec.launcher ?? []), ...asUser(spec.user?.id), ...driver.command(withAgent, runDir)];
    return new Guest(driver, command, runDir, mirror);
  }

  /** Waits for the console; an error also says what the VMM's threads are doing. */
  async #waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    try {
      return await this.console.waitFor(pattern, timeoutMs);
    } catch (error) {
      if (!(error instanceof ConsoleError)) throw error;
      throw new ConsoleError(`${error.message}\n${await this.#diagnosis()}`);
    }
  }

  /** What the VMM was doing and what it said. */
  async #diagnosis(): Promise<string> {
    const threads = await describeThreads(this.#child.pid);
    const logFile = this.#driver.logFile(this.#runDir);
    const log = logFile === undefined ? "" : await Bun.file(logFile).text();
    return `Threads of the VMM:\n${threads}\nEnd of its log:\n${log.slice(-3000)}`;
  }

  /** Waits until the guest's session serves commands, after the start and after each reboot. */
  async ready(): Promise<GuestReport> {
    const [, text = ""] = await this.#waitFor(/<lab ready ([^>]*)>/, BOOT_TIMEOUT_MS);
    const wallMs = performance.now() - this.#since;
    await this.#waitFor(/<lab agent>\r*\n/, BOOT_TIMEOUT_MS);
    const fields = new Map(text.split(" ").map((field) => [field.split("=")[0], field.slice(field.indexOf("=") + 1)]));
    return {
      uptimeSeconds: Number(fields.get("uptime")),
      cpus: Number(fields.get("cpus")),
      memoryKiB: Number(fields.get("memory_kib")),
      root: fields.get("root") ?? "",
      kernel: fields.get("kernel") ?? "",
      wallMs,
    };
  }

  /** Waits until the guest starts its first program. Milliseconds from the start of the VMM. Works on a console that needs no module. */
  async atInit(): Promise<number> {
    await this.#waitFor(/<lab init /, BOOT_TIMEOUT_MS);
    return performance.now() - this.#since;
  }

  /** Runs a shell command in the guest; output is stdout and stderr as one, without the last line end. */
  async try(command: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<CommandResult> {
    this.console.type(`${command}\n`);
    const [, output = "", status] = await this.#waitFor(
      /^([\s\S]*?)<lab (?:status=(\d+)>\r*\n|init |ready )/,
      timeoutMs,
    );
    if (status === undefined) {
      throw new Error(`the guest rebooted during ${command}. Output:\n${output}\n${await this.#diagnosis()}`);
    }
    return { status: Number(status), output: output.replaceAll("\r", "").replace(/\n$/, "") };
  }

  /** Like `try`, for a command that is to succeed: returns its output. */
  async run(command: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<string> {
    const { status, output } = await this.try(command, timeoutMs);
    if (status !== 0) throw new Error(`in the guest: ${command}: status ${status}\n${output}`);
    return output;
  }

  /** Asks for a reboot by that command and waits until the guest is ready again. */
  async reboot(command = "reboot"): Promise<GuestReport> {
    this.#since = performance.now();
    this.console.type(`${command}\n`);
    return this.ready();
  }

  /** Powers off by that command and returns the VMM's exit status. */
  async powerOff(command = "poweroff"): Promise<number> {
    this.console.type(`${command}\n`);
    return this.exited();
  }

  /** Presses the ACPI power button and returns the VMM's exit status, once the guest has acted on it. */
  async pressPowerButton(): Promise<number> {
    await this.#driver.pressPowerButton(this.#runDir);
    return this.exited();
  }

  /** Waits for the VMM to end by itself. */
  async exited(timeoutMs = EXIT_TIMEOUT_MS): Promise<number> {
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      timeout.reject(new Error(`the VMM has not ended within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    try {
      return await Promise.race([this.#child.exited, timeout.promise]);
    } catch (error) {
      const shown = this.console.transcript.slice(-2000);
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`${why}. Console:\n${shown}\n${await this.#diagnosis()}`);
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#child.terminal?.close();
    await rm(this.#runDir, { recursive: true, force: true });
  }
}
