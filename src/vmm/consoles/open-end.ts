import type { ConsoleMode } from "../../config/schema/consoles.ts";
import type { HostEnd } from "../../devices/chardev/wiring.ts";
import { createFile } from "../../host/create-file.ts";
import { Errno } from "../../host/errno.ts";
import { watchOpens } from "../../host/inotify.ts";
import { errno, libc } from "../../host/libc.ts";
import { openPty } from "../../host/pty.ts";
import { cString } from "../../host/scratch.ts";
import { listenAtPath, SocketPathError } from "../../host/socket-path.ts";
import { isTerminal } from "../../host/tty.ts";

const STDIN = 0;
const STDOUT = 1;
/** O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC. */
const REOPEN = 0o2004401;
const SEEK_CUR = 1;
/** Clients that may wait while the VM is paused. */
const BACKLOG = 128;

/** A console that cannot be had. */
export class ConsoleError extends Error {
  override readonly name = "ConsoleError";
}

/** What the user said about a console. */
export interface ConsoleRequest {
  readonly mode: ConsoleMode;
  readonly file?: string | undefined;
  readonly socket?: string | undefined;
}

/** A host's end that is open, with what it is found by. */
export interface OpenEnd {
  readonly end: HostEnd;
  /** Where a pseudo-terminal is. */
  readonly ptyPath?: string;
  /** A file to be removed at the end. */
  readonly socketPath?: string;
}

/**
 * Opens the host's end of a console whose mode is pty, file or socket.
 * @param name the option, for messages
 * @throws ConsoleError
 */
export function openEnd(name: string, { mode, file, socket }: ConsoleRequest): OpenEnd {
  try {
    switch (mode) {
      case "Pty":
        return ptyEnd();
      case "File":
        if (file === undefined) throw new ConsoleError(`${name}: mode file needs a path`);
        return { end: { kind: "fixed", outputFd: createFile(file), inputFd: undefined } };
      case "Socket":
        if (socket === undefined) throw new ConsoleError(`${name}: mode socket needs a path`);
        return { end: { kind: "socket", listenFd: listen(socket) }, socketPath: socket };
      default:
        throw new ConsoleError(`${name}: nothing is to be opened for mode ${mode.toLowerCase()}`);
    }
  } catch (cause) {
    if (cause instanceof ConsoleError) throw cause;
    throw new ConsoleError(`${name}: the output of the guest has nowhere to go`, { cause });
  }
}

/**
 * The terminal of this process, or what stands for it: standard output, and standard input where that is a terminal.
 * @returns undefined when there is no standard output
 */
export function openTerminal(): OpenEnd | undefined {
  const outputFd = reopen(STDOUT);
  if (outputFd === undefined) return undefined;
  return { end: { kind: "fixed", outputFd, inputFd: isTerminal(STDIN) ? STDIN : undefined } };
}

/** The descriptors of an end that are its owner's to close. */
export function descriptorsOf(end: HostEnd): number[] {
  switch (end.kind) {
    case "fixed":
      return [end.outputFd];
    case "pty":
      return [end.masterFd, end.opensFd];
    case "socket":
      return [end.listenFd];
  }
}

function ptyEnd(): OpenEnd {
  const { masterFd, path } = openPty();
  try {
    return { end: { kind: "pty", masterFd, opensFd: watchOpens(path) }, ptyPath: path };
  } catch (error) {
    libc.close(masterFd);
    throw error;
  }
}

function listen(path: string): number {
  try {
    return listenAtPath(path, BACKLOG);
  } catch (error) {
    if (error instanceof SocketPathError) throw error;
    throw new ConsoleError(
      `cannot listen at '${path}': its folder must exist, and this user must be able to write there`,
      {
        cause: error,
      },
    );
  }
}

/**
 * A descriptor of the same file. That of a terminal or a pipe does not block, without making it so for the other processes
 * that have it: it is opened anew, if this user may.
 */
function reopen(fd: number): number | undefined {
  if (libc.lseek(fd, 0, SEEK_CUR) < 0 && errno() === Errno.ESPIPE) {
    const own = libc.open(cString(`/proc/self/fd/${fd}`), REOPEN, 0);
    if (own >= 0) return own;
  }
  const copy = libc.fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? undefined : copy;
}

const F_DUPFD_CLOEXEC = 1030;
