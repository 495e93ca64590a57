import { Errno, SysError } from "../errno.ts";
import { libc } from "../libc.ts";
import { mapForThread } from "../mmap.ts";
import { PollEvent, pollfd } from "../poll.ts";
import { signalProcess } from "../process.ts";
import { ignoreSignal, Signal } from "../thread.ts";
import { isTerminal, setTerminalSettings, terminalSettings } from "../tty.ts";
import { type Received, receive, send } from "../unix-socket.ts";
import {
  decodeRequest,
  encodeAnswer,
  encodeNotice,
  type GuardMessage,
  type LaunchMessage,
  NOWHERE,
  ProtocolError,
  UNATTENDED,
} from "./protocol.ts";
import { duplicate, reap, type Spawned, spawn } from "./spawn.ts";

/** A program that a launcher starts. What is not described here a VMM cannot have started, whoever has taken it over. */
export interface LaunchableProgram {
  /** A path, or a name that is looked for in PATH. */
  readonly file: string;
  readonly argv0: string;
  /** Come before those of the request. */
  readonly fixedArgs: readonly string[];
  /** Whether the program may be started with these arguments. */
  readonly allows: (args: readonly string[]) => boolean;
}

/** By the names that requests use. */
export type LaunchablePrograms = ReadonlyMap<string, LaunchableProgram>;

/** Where a launcher finds its end of the requests and of the notices. */
const REQUESTS_FD = 0;
const NOTICES_FD = 1;
const MAX_CHILDREN = 1023;

interface Child extends Spawned {
  readonly id: number;
}

interface GuardedTerminal {
  readonly fd: number;
  readonly original: Uint8Array;
  readonly raw: Uint8Array;
}

/**
 * A launcher's life: starts programs and watches over the terminal until its VMM is gone, and ends the process. It waits
 * for descriptors itself: no event loop reads messages with descriptors.
 */
export function serveLauncher(programs: LaunchablePrograms): never {
  try {
    // In a session of its own no signal of a terminal reaches it; others may still be sent to all processes of a VMM.
    for (const signal of [Signal.HUP, Signal.INT, Signal.QUIT, Signal.TERM, Signal.TSTP, Signal.TTIN, Signal.TTOU])
      ignoreSignal(signal);
    new LauncherServer(programs, REQUESTS_FD, NOTICES_FD).serve();
  } finally {
    // An exit through Bun puts terminals back to how Bun found them, which may be raw.
    libc._exit(0);
  }
  throw new Error("exit returned");
}

/** Does what a VMM asks for, which may have been taken over. */
export class LauncherServer {
  readonly #programs: LaunchablePrograms;
  readonly #requestsFd: number;
  readonly #noticesFd: number;
  readonly #polled = mapForThread((1 + MAX_CHILDREN) * pollfd.size);
  readonly #children: Child[] = [];
  #terminal: GuardedTerminal | undefined;

  /** @param requestsFd a socket of messages @param noticesFd a stream */
  constructor(programs: LaunchablePrograms, requestsFd: number, noticesFd: number) {
    this.#programs = programs;
    this.#requestsFd = requestsFd;
    this.#noticesFd = noticesFd;
  }

  /** Returns when the VMM is gone and all is done that is to be done then. */
  serve(): void {
    try {
      while (this.serveOnce());
    } finally {
      this.end();
    }
  }

  /** Ends what was started, and puts the terminal back, which may refuse. @throws SysError */
  end(): void {
    for (const { pidFd } of this.#children.splice(0)) {
      signalProcess(pidFd, Signal.KILL);
      libc.close(pidFd);
    }
    this.#restoreTerminal();
  }

  /** Waits for a request or the end of a child. @returns false when nobody asks any more */
  serveOnce(): boolean {
    const fds = [this.#requestsFd, ...this.#children.map(({ pidFd }) => pidFd)];
    for (const [index, fd] of fds.entries()) {
      const entry = pollfd.at(this.#polled, index * pollfd.size);
      entry.fd = fd;
      entry.events = PollEvent.IN;
      entry.revents = 0;
    }
    if (libc.poll(this.#polled.address, fds.length, -1) < 0) return true;
    const ready = fds.map((_, index) => pollfd.at(this.#polled, index * pollfd.size).revents !== 0);
    for (const child of this.#children.filter((_, index) => ready[index + 1])) this.#reap(child);
    if (!ready[0]) return true;
    const received = this.#receive();
    if (received === undefined) return true;
    try {
      if (received.bytes.length === 0) return false;
      this.#handle(received);
      return true;
    } finally {
      for (const fd of received.fds) libc.close(fd);
    }
  }

  #receive(): Received | undefined {
    try {
      return receive(this.#requestsFd);
    } catch (error) {
      // A VMM that is killed with an answer unread. What it has sent before is still to be read, and then the end.
      if (error instanceof SysError && error.errno === Errno.ECONNRESET) return undefined;
      throw error;
    }
  }

  #handle(received: Received): void {
    const { bytes, fds } = received;
    let id = UNATTENDED;
    try {
      if (received.fdsLost) throw new ProtocolError("descriptors that this process cannot open");
      const request = decodeRequest(bytes, fds.length);
      if (request.kind === "guard") {
        this.#guard(request, fds);
        return;
      }
      id = request.id;
      this.#launch(request, fds);
    } catch (error) {
      if (!(error instanceof SysError || error instanceof ProtocolError)) throw error;
      if (id === UNATTENDED) return;
      const number = error instanceof SysError ? error.errno : 0;
      send(this.#requestsFd, encodeAnswer({ kind: "failed", id, errno: number, why: error.message }), [], true);
    }
  }

  #launch({ id, program: name, args, streams }: LaunchMessage, fds: readonly number[]): void {
    const program = this.#programs.get(name);
    if (program === undefined) throw new ProtocolError(`no program is called '${name}'`);
    if (!program.allows(args)) throw new ProtocolError(`${name} is not to have these arguments`);
    if (this.#children.length === MAX_CHILDREN) throw new ProtocolError(`more than ${MAX_CHILDREN} programs`);
    const { file, argv0, fixedArgs } = program;
    const sources = streams.map((index) => fds[index] ?? NOWHERE);
    const child = spawn({ file, argv: [argv0, ...fixedArgs, ...args], streams: sources });
    this.#children.push({ id, ...child });
    if (id !== UNATTENDED)
      send(this.#requestsFd, encodeAnswer({ kind: "started", id, pid: child.pid }), [child.pidFd], true);
  }

  #reap(child: Child): void {
    const status = reap(child.pid);
    if (status === undefined) return;
    this.#children.splice(this.#children.indexOf(child), 1);
    libc.close(child.pidFd);
    if (child.id !== UNATTENDED) send(this.#noticesFd, encodeNotice(child.id, status), [], true);
  }

  #guard({ original, raw }: GuardMessage, [fd = NOWHERE]: readonly number[]): void {
    if (this.#terminal !== undefined) libc.close(this.#terminal.fd);
    this.#terminal = { fd: duplicate(fd), original, raw };
  }

  /** Puts the terminal back, unless that has been done already: by the VMM, or by a shell that shows its prompt. */
  #restoreTerminal(): void {
    if (this.#terminal === undefined) return;
    const { fd, original, raw } = this.#terminal;
    this.#terminal = undefined;
    if (isTerminal(fd) && terminalSettings(fd).toHex() === raw.toHex()) setTerminalSettings(fd, original);
    libc.close(fd);
  }
}
