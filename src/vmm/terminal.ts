import { libc } from "../host/libc.ts";
import { ignoreSignal, Signal } from "../host/thread.ts";
import { isTerminal, makeTerminalRaw, setTerminalSettings, terminalSettings } from "../host/tty.ts";
import { logger } from "../threads/log.ts";
import { PROGRAM, SELF } from "./own-program.ts";

const log = logger("terminal");

/** The name under which the executable runs as a terminal guard. */
export const GUARD_NAME = "cloud-hypervisor-terminal-guard";

const STDOUT = 1;
/** A terminal that has been raw since this process started, and the process that restores it should this one be killed. */
interface GuardedTerminal {
  readonly fd: number;
  readonly original: Uint8Array;
  readonly raw: Uint8Array;
  readonly guard: Bun.Subprocess<"pipe", number, "ignore"> | undefined;
}

/** Outlives each VM: a guest that reboots gets its terminal back, and the settings to restore stay those of the start. */
let guarded: GuardedTerminal | undefined;
/** Set while a guest has the terminal. */
let taken: RawTerminal | undefined;

/**
 * The user's terminal while a guest has it: raw, and put back on every way out. Exits in good order restore it here; for
 * a VMM that is killed, a small process of our own waits for our end of its pipe to close.
 */
export class RawTerminal {
  readonly #terminal: GuardedTerminal;

  /**
   * @param fd the terminal
   * @throws SysError when it is no terminal
   */
  constructor(fd: number) {
    this.#terminal = guarded?.fd === fd && isAlive(guarded.guard) ? guarded : guardedTerminal(fd);
    guarded = this.#terminal;
    taken = this;
    process.once("exit", this.restore);
    setTerminalSettings(fd, this.#terminal.raw);
  }

  /** Puts the terminal's settings back. May be called more than once. */
  readonly restore = (): void => {
    if (taken !== this) return;
    taken = undefined;
    process.off("exit", this.restore);
    const { fd, original } = this.#terminal;
    // A terminal that hung up has no settings any more.
    if (isTerminal(fd)) setTerminalSettings(fd, original);
  };
}

/** Puts the terminal back where a guest has it: before anything is printed for the user. */
export function restoreTerminal(): void {
  taken?.restore();
}

function isAlive(guard: GuardedTerminal["guard"]): boolean {
  return guard !== undefined && guard.exitCode === null && guard.signalCode === null;
}

function guardedTerminal(fd: number): GuardedTerminal {
  const original = guarded?.fd === fd ? guarded.original : terminalSettings(fd);
  makeTerminalRaw(fd);
  const raw = terminalSettings(fd);
  return { fd, original, raw, guard: startGuard(fd, original, raw) };
}

function startGuard(fd: number, original: Uint8Array, raw: Uint8Array): GuardedTerminal["guard"] {
  try {
    const guard = Bun.spawn([SELF, ...PROGRAM, original.toHex(), raw.toHex()], {
      argv0: GUARD_NAME,
      stdio: ["pipe", fd, "ignore"],
      // In a session of its own no signal to the terminal or to the process group of the VMM reaches it.
      detached: true,
    });
    guard.unref();
    return guard;
  } catch (error) {
    log.warn(`nobody restores the terminal should this process be killed: ${error}`);
    return undefined;
  }
}

/**
 * The guard's life: waits until its owner is gone and puts the terminal on stdout back, unless that has been done already
 * (by the owner, or by a shell that shows its prompt).
 * @param original the settings to restore, in hexadecimal
 * @param raw the settings the owner had set, in hexadecimal
 */
export async function guardTerminal(original: string, raw: string): Promise<void> {
  try {
    for (const signal of [Signal.HUP, Signal.INT, Signal.QUIT, Signal.TERM, Signal.TTOU]) ignoreSignal(signal);
    await Bun.stdin.text();
    if (isTerminal(STDOUT) && terminalSettings(STDOUT).toHex() === raw)
      setTerminalSettings(STDOUT, Uint8Array.fromHex(original));
  } finally {
    // An exit through Bun puts terminals back to how Bun found them, which is raw.
    libc._exit(0);
  }
}
