import { launcher } from "../host/launcher/launcher.ts";
import { isTerminal, makeTerminalRaw, setTerminalSettings, terminalSettings } from "../host/tty.ts";
import { logger } from "../threads/log.ts";

const log = logger("terminal");

const UNGUARDED = "nobody restores the terminal should this process be killed";

/** A terminal that has been raw since this process started. */
interface GuardedTerminal {
  readonly fd: number;
  readonly original: Uint8Array;
  readonly raw: Uint8Array;
}

/** Outlives each VM: a guest that reboots gets its terminal back, and the settings to restore stay those of the start. */
let guarded: GuardedTerminal | undefined;
/** Set while a guest has the terminal. */
let taken: RawTerminal | undefined;

/**
 * The user's terminal while a guest has it: raw, and put back on every way out. Exits in good order restore it here; for
 * a VMM that is killed, the launcher does so.
 */
export class RawTerminal {
  readonly #terminal: GuardedTerminal;

  /**
   * @param fd the terminal
   * @throws SysError when it is no terminal
   */
  constructor(fd: number) {
    this.#terminal = guarded?.fd === fd ? guarded : guardedTerminal(fd);
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

function guardedTerminal(fd: number): GuardedTerminal {
  const original = terminalSettings(fd);
  makeTerminalRaw(fd);
  const raw = terminalSettings(fd);
  try {
    const guard = launcher();
    if (guard === undefined) log.warn(`${UNGUARDED}: the VMM was started without a terminal`);
    else guard.guardTerminal(fd, original, raw);
  } catch (error) {
    log.warn(`${UNGUARDED}: ${error}`);
  }
  return { fd, original, raw };
}
