import { Errno, SysError } from "../host/errno.ts";
import { type LaunchedProcess, launcher } from "../host/launcher/launcher.ts";
import { check, libc } from "../host/libc.ts";
import { waitReadable } from "../host/poll.ts";
import { signalName } from "../host/process.ts";
import { scratch } from "../host/scratch.ts";
import { Signal } from "../host/thread.ts";
import { makeNonBlocking, receive, send, socketPair } from "../host/unix-socket.ts";
import { arpProbe } from "./arp.ts";
import { PASST, type PasstRequest, passtArguments } from "./passt-program.ts";
import { onWire, PREFIX_BYTES } from "./stream/protocol.ts";

/** A user-mode network that cannot be had. The message says why, and what to do. */
export class PasstError extends Error {
  override readonly name = "PasstError";
}

/** How long the first answer may take. A network of IPv6 alone has none, and is taken to be there then. */
const ANSWER_PATIENCE_MS = 5000;
const END_PATIENCE_MS = 5000;

/** What it says where there is no system log, which is no matter of the user's. */
const NOISE = /^Failed to send \d+ bytes to syslog$/;

/** What to do about what it says. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/bind|port/i, "forward a port of the host that is free, or that this user may have (1024 and above)"],
  [/external|routable|route/i, "the host needs a network of its own, with a default route"],
  [/user namespace|CLONE_NEWUSER|sandbox/i, "let this user have user namespaces, which it locks itself up in"],
];

/**
 * A passt process (https://passt.top), which is the network of one guest: a DHCP server and a router in front of the host's own
 * sockets. It needs no privilege, and ends with the connection to us, so in whatever way we end.
 */
export class Passt {
  /** Our end of the connection, non-blocking; the caller's to close. */
  readonly fd: number;
  readonly #child: LaunchedProcess;
  readonly #messagesFd: number;
  #stopped = false;

  private constructor(fd: number, messagesFd: number, child: LaunchedProcess) {
    this.fd = fd;
    this.#messagesFd = messagesFd;
    this.#child = child;
  }

  /** Starts the program and waits until it serves the guest. @throws PasstError, SysError */
  static start(request: PasstRequest): Passt {
    using theirs = new DisposableStack();
    using ours = new DisposableStack();
    const connect = (): readonly [number, number] => {
      const [fd, childFd] = socketPair();
      ours.defer(() => libc.close(fd));
      theirs.defer(() => libc.close(childFd));
      return [fd, childFd];
    };
    const [fd, childFd] = connect();
    const [messagesFd, childMessagesFd] = connect();
    for (const end of [fd, messagesFd, childMessagesFd]) makeNonBlocking(end);
    const streams = [undefined, childMessagesFd, childMessagesFd, childFd];
    const passt = new Passt(fd, messagesFd, launchPasst(passtArguments(request), streams));
    ours.move();
    theirs.dispose();
    try {
      passt.#awaitAnswer(request.mac);
    } catch (error) {
      passt.stop();
      libc.close(fd);
      throw error;
    }
    return passt;
  }

  /** Calls back when the program has ended by itself, with what is known of why. */
  onEnd(listener: (why: string) => void): void {
    void this.#child.exited.then((status) => {
      if (this.#stopped) return;
      const how = status.kind === "killed" ? signalName(status.signal) : `status ${status.code}`;
      listener([how, ...this.#messages().slice(-1)].join(": "));
    });
  }

  /** Ends the program. All that it had, such as ports, is free again on return. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#child.kill(Signal.KILL);
    this.#child.waitForEnd(END_PATIENCE_MS);
    this.#child.release();
    libc.close(this.#messagesFd);
  }

  /** Asks as the guest will: an answer says that all has been set up. @throws PasstError */
  #awaitAnswer(mac: Uint8Array): void {
    try {
      send(this.fd, onWire(arpProbe(mac)));
      const prefix = this.#read(PREFIX_BYTES);
      if (prefix === undefined) return;
      this.#read(new DataView(prefix.buffer).getUint32(0));
    } catch (cause) {
      if (!(cause instanceof SysError)) throw cause;
      this.#child.waitForEnd(END_PATIENCE_MS);
      // The last of what it says is why it ends.
      const said = this.#messages().at(-1) ?? "it ends without a word";
      const advice = ADVICE.find(([pattern]) => pattern.test(said))?.[1];
      throw new PasstError(`${PASST} does not start: ${said}${advice === undefined ? "" : `: ${advice}`}`, { cause });
    }
  }

  /** Reads so many bytes and no more. @returns undefined when the first does not come in time @throws SysError at the end */
  #read(count: number): Uint8Array | undefined {
    const { u8, address } = scratch();
    if (count > u8.length) throw new SysError(Errno.EMSGSIZE, `read ${count} bytes from ${PASST}`);
    for (let done = 0; done < count; ) {
      if (!waitReadable(this.fd, ANSWER_PATIENCE_MS)) {
        if (done === 0) return undefined;
        throw new SysError(Errno.ETIMEDOUT, `read from ${PASST}`);
      }
      const bytes = check(libc.read(this.fd, address + done, count - done), `read from ${PASST}`);
      if (bytes === 0) throw new SysError(Errno.EPIPE, `read from ${PASST}`);
      done += bytes;
    }
    return u8.slice(0, count);
  }

  /** What the program has said. */
  #messages(): string[] {
    const text = new TextDecoder().decode(receive(this.#messagesFd)?.bytes);
    return text.split("\n").filter((line) => line.trim() !== "" && !NOISE.test(line));
  }
}

/** @throws PasstError */
function launchPasst(args: readonly string[], streams: readonly (number | undefined)[]): LaunchedProcess {
  const starter = launcher();
  const missing = `--net user=on needs the program ${PASST}`;
  if (starter === undefined)
    throw new PasstError(
      `${missing}, and a VMM that knows of it when it starts: install the package of that name and restart the VMM`,
    );
  try {
    return starter.launch({ program: PASST, args, streams });
  } catch (cause) {
    if (cause instanceof SysError && cause.errno === Errno.ENOENT)
      throw new PasstError(`${missing}: install the package of that name`);
    throw new PasstError(`cannot start ${PASST}`, { cause });
  }
}
