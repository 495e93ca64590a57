import { startLauncher } from "../host/launcher/launcher.ts";
import { isTerminal } from "../host/tty.ts";
import { PASST } from "../net/passt-program.ts";
import { logger } from "../threads/log.ts";
import { Launches } from "../vmm/launchable-programs.ts";
import type { RunRequest } from "./parse.ts";

const log = logger("cli");

const STDOUT = 1;
const WITHOUT_IT =
  "no program can be started for a guest's network or console, and nobody restores the terminal should the VMM be killed";

/** What the host has, asked only when it matters. */
export interface HostFacts {
  /** Whether output goes to a terminal. */
  readonly terminal: () => boolean;
  /** Whether passt is installed. */
  readonly passt: () => boolean;
}

const HOST: HostFacts = { terminal: () => isTerminal(STDOUT), passt: () => Bun.which(PASST) !== null };

/** Starts a launcher for a VMM that may need one. To have none is no reason to run no VM. */
export function startVmmLauncher(request: RunRequest): void {
  if (!needsLauncher(request)) return;
  try {
    startLauncher(mayNeedNetwork(request) ? Launches.NETWORKS : Launches.CONSOLES, (how) =>
      log.warn(`the launcher has ended (${how}): until the VMM is restarted ${WITHOUT_IT}`),
    );
  } catch (error) {
    log.warn(`there is no launcher: ${WITHOUT_IT}: ${error}`);
  }
}

/** Whether a guest may get a network that a program makes: its own, or one that is plugged in, or another VM's. */
export const mayNeedNetwork = ({ options, start }: RunRequest): boolean =>
  // What VM there will be is not on the command line.
  start !== "boot" || options.has("api-socket") || options.texts("net").some((text) => text.includes("user"));

/**
 * Whether the VMM may have to start a program: one for a guest's network, one for the size of a pseudo-terminal, or need
 * somebody to put the user's terminal back. Later it cannot start any itself. Option values are only looked through: rather one
 * launcher too many than one too few.
 */
export function needsLauncher({ options, start }: RunRequest, host: HostFacts = HOST): boolean {
  // What VM there will be is not on the command line.
  if (start !== "boot") return true;
  const consoles = [options.text("console") ?? "tty", options.text("serial") ?? ""];
  const onConsole = (mode: string): boolean => consoles.some((text) => text.includes(mode));
  return (
    (onConsole("tty") && host.terminal()) ||
    onConsole("pty") ||
    options.texts("net").some((text) => text.includes("user")) ||
    // Another VM, and a network interface that is plugged in.
    (options.has("api-socket") && (host.terminal() || host.passt()))
  );
}
