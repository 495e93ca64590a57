import { ignoreSignal, Signal } from "../host/thread.ts";
import { makeTerminalRaw, setTerminalSettings, terminalSettings } from "../host/tty.ts";

/** The name under which the executable runs as a terminal guard. */
export const GUARD_NAME = "cloud-hypervisor-terminal-guard";

/**
 * The user's terminal while a guest has it: raw, and put back on every way out. Exits in good order restore it here; for
 * a VMM that is killed, a small process of our own waits for our end of its pipe to close.
 */
export class RawTerminal {
  readonly #fd: number;
  readonly #settings: Uint8Array;
  readonly #guard: Bun.Subprocess<"pipe", number, "inherit">;
  #raw = true;

  /**
   * @param fd the terminal
   * @throws SysError when it is no terminal
   */
  constructor(fd: number) {
    this.#fd = fd;
    this.#settings = terminalSettings(fd);
    makeTerminalRaw(fd);
    this.#guard = Bun.spawn([process.execPath, this.#settings.toHex(), terminalSettings(fd).toHex()], {
      argv0: GUARD_NAME,
      stdio: ["pipe", fd, "inherit"],
    });
    this.#guard.unref();
    process.once("exit", this.restore);
  }

  /** Puts the terminal's settings back. May be called more than once. */
  readonly restore = (): void => {
    if (!this.#raw) return;
    this.#raw = false;
    setTerminalSettings(this.#fd, this.#settings);
    this.#guard.stdin.end();
    process.off("exit", this.restore);
  };
}

/**
 * The guard's life: waits until its owner is gone and puts the terminal on stdout back, unless that has been done already
 * (by the owner, or by a shell that shows its prompt).
 * @param saved the settings to restore, in hexadecimal
 * @param raw the settings the owner had set, in hexadecimal
 */
export async function guardTerminal(saved: string, raw: string): Promise<void> {
  for (const signal of [Signal.HUP, Signal.INT, Signal.QUIT, Signal.TERM, Signal.TTOU]) ignoreSignal(signal);
  await Bun.stdin.text();
  if (terminalSettings(1).toHex() === raw) setTerminalSettings(1, Uint8Array.fromHex(saved));
}
