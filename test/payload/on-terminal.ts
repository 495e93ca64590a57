import { readlinkSync } from "node:fs";
import type { Subprocess } from "bun";
import { libc } from "../../src/host/libc.ts";
import { cString } from "../../src/host/scratch.ts";
import { setTerminalSettings, terminalSettings } from "../../src/host/tty.ts";
import { markedEnvironment, newMark, processesMarked } from "./command.ts";
import { eventually } from "./eventually.ts";

/** O_RDWR | O_NOCTTY (asm-generic/fcntl.h). */
const OPEN_TERMINAL = 0o402;
const PATIENCE_MS = 20_000;

/** A program on a pseudo-terminal of its own. It starts when the terminal's settings have been read. */
export class OnTerminal {
  readonly #process: Subprocess;
  readonly #mark = newMark();
  readonly #decoder = new TextDecoder();
  #fd = -1;
  #read = 0;
  output = "";
  /** The settings before the program, in hexadecimal. */
  before = "";

  /** @param stty what differs from a new terminal's settings @param env what differs from our environment */
  static async start(
    command: readonly string[],
    stty = "intr ^X",
    env: Readonly<Record<string, string>> = {},
  ): Promise<OnTerminal> {
    const terminal = new OnTerminal(command, stty, env);
    await terminal.says("WAITING");
    const path = readlinkSync(`/proc/${terminal.pid}/fd/0`);
    terminal.#fd = libc.open(cString(path), OPEN_TERMINAL, 0);
    if (terminal.#fd < 0) throw new Error(`cannot open ${path}`);
    terminal.before = terminal.settings;
    terminal.type("\n");
    return terminal;
  }

  private constructor(command: readonly string[], stty: string, env: Readonly<Record<string, string>>) {
    this.#process = Bun.spawn(["sh", "-c", `stty ${stty}; echo WAITING; read _; exec "$@"`, "sh", ...command], {
      env: { ...markedEnvironment(this.#mark), ...env },
      terminal: {
        cols: 80,
        rows: 25,
        data: (_terminal, bytes) => {
          this.output += this.#decoder.decode(bytes, { stream: true });
        },
      },
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** The terminal's settings now, in hexadecimal. */
  get settings(): string {
    return terminalSettings(this.#fd).toHex();
  }

  set settings(hex: string) {
    setTerminalSettings(this.#fd, Uint8Array.fromHex(hex));
  }

  /** Processes other than the program that it has started. */
  get helpers(): number[] {
    return processesMarked(this.#mark).filter((pid) => pid !== this.pid);
  }

  /** Waits for a text in the output, after the last one that was waited for. */
  says(text: string): Promise<true> {
    return eventually(`'${text}' on the terminal`, PATIENCE_MS, () => {
      const at = this.output.indexOf(text, this.#read);
      if (at < 0) return undefined;
      this.#read = at + text.length;
      return true;
    });
  }

  type(text: string): void {
    this.#process.terminal?.write(text);
  }

  resize(columns: number, rows: number): void {
    this.#process.terminal?.resize(columns, rows);
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** How the program ended: its status or its signal. */
  async end(): Promise<number | string> {
    const status = await this.#process.exited;
    return this.#process.signalCode ?? status;
  }

  /** Waits until the terminal is as it was. */
  restored(): Promise<true> {
    return eventually("the terminal's settings", PATIENCE_MS, () => (this.settings === this.before ? true : undefined));
  }

  /** Waits until nothing that the program has started is there any more. */
  alone(): Promise<true> {
    return eventually("the end of all helpers", PATIENCE_MS, () => (this.helpers.length === 0 ? true : undefined));
  }

  close(): void {
    this.#process.kill("SIGKILL");
    for (const pid of this.helpers) process.kill(pid, "SIGKILL");
    if (this.#fd >= 0) libc.close(this.#fd);
    this.#process.terminal?.close();
  }
}
