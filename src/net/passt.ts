import { Errno, SysError } from "../host/errno.ts";
import { check, libc } from "../host/libc.ts";
import { waitReadable } from "../host/poll.ts";
import { waitForEnd } from "../host/process.ts";
import { scratch } from "../host/scratch.ts";
import { makeNonBlocking, receive, send, socketPair } from "../host/unix-socket.ts";
import { arpProbe } from "./arp.ts";
import { onWire, PREFIX_BYTES } from "./stream/protocol.ts";

/** A user-mode network that cannot be had. The message says why, and what to do. */
export class PasstError extends Error {
  override readonly name = "PasstError";
}

/** A port of the host that leads to the guest. */
export interface Forward {
  readonly protocol: "tcp" | "udp";
  /** IPv4 or IPv6. */
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

export interface PasstRequest {
  /** The guest's MAC address. */
  readonly mac: Uint8Array;
  /** Told to the guest by DHCP and NDP. */
  readonly mtu: number;
  readonly forwards: readonly Forward[];
}

const PROGRAM = "passt";
/** The descriptor that the program finds its end of the connection at, behind the standard ones. */
const CONNECTION_FD = 3;
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
  readonly #child: Bun.Subprocess;
  readonly #messagesFd: number;
  #stopped = false;

  private constructor(fd: number, messagesFd: number, child: Bun.Subprocess) {
    this.fd = fd;
    this.#messagesFd = messagesFd;
    this.#child = child;
    child.unref();
  }

  /** Starts the program and waits until it serves the guest. @throws PasstError, SysError */
  static start(request: PasstRequest): Passt {
    const program = Bun.which(PROGRAM);
    if (program === null)
      throw new PasstError(`--net user=on needs the program ${PROGRAM}: install the package of that name`);
    const connection = socketPair();
    const messages = socketPair();
    const [fd, childFd] = connection;
    const [messagesFd, childMessagesFd] = messages;
    for (const end of [fd, ...messages]) makeNonBlocking(end);
    let passt: Passt;
    try {
      const child = Bun.spawn([program, ...argumentsOf(request)], {
        stdio: ["ignore", childMessagesFd, childMessagesFd, childFd],
        cwd: "/",
      });
      passt = new Passt(fd, messagesFd, child);
    } catch (cause) {
      for (const end of [fd, messagesFd]) libc.close(end);
      throw new PasstError(`cannot start ${program}`, { cause });
    } finally {
      for (const end of [childFd, childMessagesFd]) libc.close(end);
    }
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
    void this.#child.exited.then(() => {
      if (this.#stopped) return;
      const { exitCode, signalCode } = this.#child;
      const how = signalCode === null ? `status ${exitCode}` : signalCode;
      listener([how, ...this.#messages().slice(-1)].join(": "));
    });
  }

  /** Ends the program. All that it had, such as ports, is free again on return. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#child.kill("SIGKILL");
    waitForEnd(this.#child.pid, END_PATIENCE_MS);
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
      waitForEnd(this.#child.pid, END_PATIENCE_MS);
      // The last of what it says is why it ends.
      const said = this.#messages().at(-1) ?? "it ends without a word";
      const advice = ADVICE.find(([pattern]) => pattern.test(said))?.[1];
      throw new PasstError(`${PROGRAM} does not start: ${said}${advice === undefined ? "" : `: ${advice}`}`, { cause });
    }
  }

  /** Reads so many bytes and no more. @returns undefined when the first does not come in time @throws SysError at the end */
  #read(count: number): Uint8Array | undefined {
    const { u8, address } = scratch();
    if (count > u8.length) throw new SysError(Errno.EMSGSIZE, `read ${count} bytes from ${PROGRAM}`);
    for (let done = 0; done < count; ) {
      if (!waitReadable(this.fd, ANSWER_PATIENCE_MS)) {
        if (done === 0) return undefined;
        throw new SysError(Errno.ETIMEDOUT, `read from ${PROGRAM}`);
      }
      const bytes = check(libc.read(this.fd, address + done, count - done), `read from ${PROGRAM}`);
      if (bytes === 0) throw new SysError(Errno.EPIPE, `read from ${PROGRAM}`);
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

function argumentsOf({ mtu, forwards }: PasstRequest): string[] {
  return [
    ...["--foreground", "--quiet", "--fd", String(CONNECTION_FD), "--mtu", String(mtu)],
    ...forwards.flatMap(({ protocol, address, hostPort, guestPort }) => [
      protocol === "tcp" ? "--tcp-ports" : "--udp-ports",
      `${address}/${hostPort}:${guestPort}`,
    ]),
  ];
}
