import { SysError } from "../errno.ts";
import { libc } from "../libc.ts";
import { LAUNCHER_NAME, PROGRAM, SELF } from "../own-program.ts";
import { waitReadable } from "../poll.ts";
import { openPidFd, signalProcess } from "../process.ts";
import { readSocket } from "../socket-reader.ts";
import { Signal } from "../thread.ts";
import { type Received, receive, send, socketPair } from "../unix-socket.ts";
import { describePlacement, placeAside } from "./placement.ts";
import {
  type Answer,
  decodeAnswer,
  decodeRequest,
  type ExitStatus,
  encodeRequest,
  NOWHERE,
  NoticeReader,
  ProtocolError,
  type Request,
  UNATTENDED,
} from "./protocol.ts";

/** A launcher that does not do what it is asked for. The message says why, and what to do. */
export class LauncherError extends Error {
  override readonly name = "LauncherError";
}

/** How long an answer may take: the launcher may still be starting, on a host that is slow. */
const ANSWER_PATIENCE_MS = 20_000;
const END_PATIENCE_MS = 1000;

export interface LaunchRequest {
  /** One of the names that the launcher knows. */
  readonly program: string;
  readonly args: readonly string[];
  /** The program's descriptors, from 0, at least the three standard ones; undefined for what goes nowhere. */
  readonly streams: readonly (number | undefined)[];
}

/** A program that the launcher has started. */
export class LaunchedProcess {
  readonly pid: number;
  /** Settles when it has ended; never, when the launcher is gone by then. */
  readonly exited: Promise<ExitStatus>;
  #pidFd: number | undefined;

  constructor(pid: number, pidFd: number, exited: Promise<ExitStatus>) {
    this.pid = pid;
    this.exited = exited;
    this.#pidFd = pidFd;
    void exited.then(() => this.release());
  }

  /** Sends a signal. A process that has ended is no error. */
  kill(signal: number): void {
    if (this.#pidFd !== undefined) signalProcess(this.#pidFd, signal);
  }

  /** Waits until it has ended and let go of all it had. @returns false when it has not within that time */
  waitForEnd(timeoutMs: number): boolean {
    return this.#pidFd === undefined || waitReadable(this.#pidFd, timeoutMs);
  }

  /** Gives up the hold on the process: no signal reaches it any more, and no end is waited for. */
  release(): void {
    if (this.#pidFd !== undefined) libc.close(this.#pidFd);
    this.#pidFd = undefined;
  }
}

/**
 * A small process of our own that starts programs for this one, which may not do so itself when it is confined, and which
 * its children would take its confinement over from. It also puts the terminal back should this process be killed.
 */
export class Launcher {
  readonly #requestsFd: number;
  readonly #process: Bun.Subprocess;
  readonly #pidFd: number;
  readonly #exits = new Map<number, (status: ExitStatus) => void>();
  readonly #notices = new NoticeReader();
  /** Not read until the first program is started. */
  #noticesFd: number | undefined;
  #stopNotices: (() => void) | undefined;
  #lastId = UNATTENDED;
  #ending = false;

  /**
   * Starts it, and does not wait for it: requests lie in the socket until it reads them.
   * @param command what runs `serveLauncher`; where it may run is added to it, for `restorePlacement`
   * @param onEnd told when it ends before it is to
   * @throws when no process can be started
   */
  constructor(command: readonly string[], onEnd: (how: string) => void) {
    const [requestsFd, theirRequestsFd] = socketPair("messages");
    const [noticesFd, theirNoticesFd] = socketPair();
    const placement = describePlacement();
    try {
      this.#process = Bun.spawn(placement === undefined ? [...command] : [...command, placement], {
        argv0: LAUNCHER_NAME,
        cwd: "/",
        stdio: [theirRequestsFd, theirNoticesFd, "ignore"],
        detached: true,
        onExit: (_process, code, signal) => {
          if (!this.#ending) onEnd(signal === null ? `status ${code}` : String(signal));
        },
      });
      if (placement !== undefined) placeAside(this.#process.pid, placement);
      this.#process.unref();
      this.#pidFd = openPidFd(this.#process.pid);
    } catch (error) {
      for (const fd of [requestsFd, noticesFd]) libc.close(fd);
      throw error;
    } finally {
      for (const fd of [theirRequestsFd, theirNoticesFd]) libc.close(fd);
    }
    this.#requestsFd = requestsFd;
    this.#noticesFd = noticesFd;
    process.once("exit", this.end);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /**
   * Starts a program and waits until it runs.
   * @throws SysError when the system refuses, LauncherError when the launcher does or is gone, ProtocolError when the
   * request cannot be told
   */
  launch(request: LaunchRequest): LaunchedProcess {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    this.#exits.set(id, resolve);
    try {
      this.#readNotices();
      this.#send(...launchMessage(id, request));
      const { answer, fds } = this.#answerTo(id);
      if (answer.kind === "failed") {
        if (answer.errno !== 0) throw new SysError(answer.errno, `start ${request.program}`);
        throw new LauncherError(`the launcher does not start ${request.program}: ${answer.why}`);
      }
      const [pidFd = NOWHERE] = fds;
      return new LaunchedProcess(answer.pid, pidFd, promise);
    } catch (error) {
      this.#exits.delete(id);
      throw error;
    }
  }

  /**
   * Has a program started some time: whether it runs shows by what it does with its streams.
   * @throws LauncherError when the launcher is gone, ProtocolError when the request cannot be told
   */
  launchUnattended(request: LaunchRequest): void {
    this.#send(...launchMessage(UNATTENDED, request));
  }

  /**
   * Has a terminal's settings put back when this process is gone, if they are still those that it has set.
   * @throws LauncherError when the launcher is gone
   */
  guardTerminal(fd: number, original: Uint8Array, raw: Uint8Array): void {
    this.#send({ kind: "guard", original, raw }, [fd]);
  }

  /** Ends the launcher and waits until it is gone. What it has started goes on. */
  readonly end = (): void => {
    if (this.#ending) return;
    this.#ending = true;
    process.off("exit", this.end);
    signalProcess(this.#pidFd, Signal.KILL);
    waitReadable(this.#pidFd, END_PATIENCE_MS);
    for (const fd of [this.#pidFd, this.#requestsFd]) libc.close(fd);
    if (this.#noticesFd !== undefined) libc.close(this.#noticesFd);
    this.#stopNotices?.();
  };

  #send(request: Request, fds: readonly number[]): void {
    const bytes = encodeRequest(request);
    // What makes no sense to the launcher gets no answer.
    decodeRequest(bytes, fds.length);
    try {
      if (!this.#ending && send(this.#requestsFd, bytes, fds) === bytes.length) return;
    } catch (cause) {
      throw gone({ cause });
    }
    throw gone();
  }

  /** Waits for the answer to a request. Answers that came too late for others are dropped. @throws LauncherError */
  #answerTo(id: number): { readonly answer: Answer; readonly fds: readonly number[] } {
    const deadline = performance.now() + ANSWER_PATIENCE_MS;
    for (;;) {
      const left = Math.ceil(deadline - performance.now());
      if (left <= 0) throw new LauncherError(`the launcher has not answered within ${ANSWER_PATIENCE_MS / 1000} s`);
      if (!waitReadable(this.#requestsFd, left)) continue;
      const received = this.#receive();
      if (received === undefined) continue;
      const { bytes, fds } = received;
      let answer: Answer | undefined;
      try {
        if (bytes.length === 0) throw gone();
        answer = decodeAnswer(bytes, fds.length);
        if (answer.id === id) return { answer, fds };
      } catch (cause) {
        if (!(cause instanceof ProtocolError)) throw cause;
        throw new LauncherError("the launcher's answer makes no sense: restart the VMM", { cause });
      } finally {
        if (answer?.id !== id) for (const fd of fds) libc.close(fd);
      }
    }
  }

  #receive(): Received | undefined {
    try {
      return receive(this.#requestsFd);
    } catch (cause) {
      throw gone({ cause });
    }
  }

  #readNotices(): void {
    if (this.#noticesFd === undefined) return;
    this.#stopNotices = readSocket(this.#noticesFd, {
      onBytes: (bytes) => {
        for (const { id, status } of this.#notices.read(bytes)) {
          this.#exits.get(id)?.(status);
          this.#exits.delete(id);
        }
      },
    });
    this.#noticesFd = undefined;
  }
}

function gone(options?: ErrorOptions): LauncherError {
  return new LauncherError("the launcher, which starts programs for the VMM, is gone: restart the VMM", options);
}

function launchMessage(id: number, { program, args, streams }: LaunchRequest): [Request, readonly number[]] {
  const fds = [...new Set(streams.filter((fd) => fd !== undefined))];
  const indexes = streams.map((fd) => (fd === undefined ? NOWHERE : fds.indexOf(fd)));
  return [{ kind: "launch", id, program, args, streams: indexes }, fds];
}

let ofProcess: Launcher | undefined;

/**
 * Starts the launcher of this process.
 * @param programs what it is told of the programs that it may start
 * @param onEnd told when it ends before this process does
 * @throws as the constructor
 */
export function startLauncher(programs: string, onEnd: (how: string) => void): void {
  ofProcess ??= new Launcher([SELF, ...PROGRAM, programs], onEnd);
}

/** The launcher of this process, if it was started with one. */
export function launcher(): Launcher | undefined {
  return ofProcess;
}
