import type { ConsoleMode } from "../config/schema/consoles.ts";
import { createFile } from "../host/create-file.ts";
import { isTerminal } from "../host/tty.ts";
import type { Descriptors } from "./descriptors.ts";

const STDIN = 0;
const STDOUT = 1;

/** A console that cannot be had. */
export class ConsoleError extends Error {
  override readonly name = "ConsoleError";
}

/** What is at the other end of a console: where output goes and input comes from, when anywhere. */
export interface ConsoleEnds {
  readonly outputFd: number | undefined;
  readonly inputFd: number | undefined;
}

/**
 * Opens the host's end of a console.
 * @param name the option, for messages
 * @returns undefined when there is to be no device
 * @throws ConsoleError
 */
export function openConsole(
  name: string,
  { mode, file }: { readonly mode: ConsoleMode; readonly file?: string | undefined },
  descriptors: Descriptors,
): ConsoleEnds | undefined {
  switch (mode) {
    case "Off":
      return undefined;
    case "Null":
      return { outputFd: undefined, inputFd: undefined };
    case "Tty":
      return { outputFd: STDOUT, inputFd: isTerminal(STDIN) ? STDIN : undefined };
    case "File":
      return { outputFd: descriptors.own(create(name, file)), inputFd: undefined };
    case "Pty":
    case "Socket":
      throw new ConsoleError(`${name}: mode ${mode.toLowerCase()} is not supported yet`);
  }
}

/**
 * The virtio console of a machine with a serial port. Input of a terminal that both are on goes to the serial port, which
 * nobody has there without asking for it: of two readers each would miss what the other has read.
 */
export function besideSerial(
  serial: ConsoleEnds | undefined,
  virtioConsole: ConsoleEnds | undefined,
): ConsoleEnds | undefined {
  if (virtioConsole === undefined || serial?.inputFd === undefined) return virtioConsole;
  return virtioConsole.inputFd === serial.inputFd ? { ...virtioConsole, inputFd: undefined } : virtioConsole;
}

function create(name: string, path: string | undefined): number {
  if (path === undefined) throw new ConsoleError(`${name}: mode file needs a path`);
  try {
    return createFile(path);
  } catch (cause) {
    throw new ConsoleError(`${name}: the output of the guest has nowhere to go`, { cause });
  }
}
