import { openSync } from "node:fs";
import {
  type Answer,
  decodeAnswer,
  decodeRequest,
  encodeAnswer,
  encodeNotice,
  encodeRequest,
  NOWHERE,
  NoticeReader,
  ProtocolError,
  type Request,
  UNATTENDED,
} from "../../../src/host/launcher/protocol.ts";
import { type LaunchableProgram, LauncherServer } from "../../../src/host/launcher/serve.ts";
import { libc } from "../../../src/host/libc.ts";
import { openPty } from "../../../src/host/pty.ts";
import { cString } from "../../../src/host/scratch.ts";
import { setTerminalSettings, terminalSettings } from "../../../src/host/tty.ts";
import { receive, send, socketPair } from "../../../src/host/unix-socket.ts";
import { LAUNCHABLE_PROGRAMS } from "../../../src/vmm/launchable-programs.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";

const MOST_REQUESTS = 8;
const MOST_FDS = 4;
/** O_RDWR | O_NOCTTY | O_CLOEXEC. */
const OPEN_TERMINAL = 0o2000402;
const PROGRAMS: readonly [string, ...string[]] = ["passt", "size-watch", "true", "none"];
const ARGUMENTS: readonly [string, ...string[]] = [
  "--mtu",
  "1500",
  "--tcp-ports",
  "1.2.3.4/5:6",
  "--udp-ports",
  "::/65535:1",
  "--pcap",
  "/etc/passwd",
  "\n--log-file",
  "5\n",
];

/** As the VMM's launcher has them, but that nothing is there to be started, and one that starts and ends. */
const programs = new Map<string, LaunchableProgram>([
  ...[...LAUNCHABLE_PROGRAMS].map(
    ([name, program]) => [name, { ...program, file: "/nowhere/program" }] as [string, LaunchableProgram],
  ),
  ["true", { file: "/bin/true", argv0: "true", fixedArgs: [], allows: (args) => args.length === 0 }],
]);

/** A message with members, most of them right. */
function messageOf(input: Input, settings: Uint8Array): Uint8Array {
  const wrong = input.below(8) === 1;
  const hex = (): string => {
    const bytes = settings.slice(0, input.below(16) === 1 ? input.u8() : undefined);
    bytes.set(input.take(Math.min(bytes.length, input.below(64))));
    return bytes.toHex();
  };
  const program = input.below(16) === 1 ? "\u0001".repeat(input.u16() % 12_000) : input.pick(PROGRAMS);
  const message =
    input.below(4) === 1
      ? { kind: "guard", original: hex(), raw: input.bool() ? settings.toHex() : hex() }
      : {
          kind: "launch",
          program,
          // What nobody asks after is not waited for here.
          id: program !== "true" && input.below(4) === 1 ? Math.round(input.edge(33)) : 7,
          args: Array.from({ length: input.below(4) }, () =>
            input.below(4) === 1 ? input.u8() : input.pick(ARGUMENTS),
          ),
          streams: Array.from({ length: input.below(8) === 1 ? input.u8() : 3 }, () => input.below(4) - 1),
        };
  const bytes = Buffer.from(JSON.stringify(message));
  if (!wrong) return bytes;
  const at = input.below(bytes.length);
  return Buffer.concat([bytes.subarray(0, at), input.take(input.below(16)), bytes.subarray(at + input.below(8))]);
}

/** What a message asks for, if it is one. */
function requestOf(bytes: Uint8Array, fds: number): Request | undefined {
  try {
    const request = decodeRequest(bytes, fds);
    const again = decodeRequest(encodeRequest(request), fds);
    if (!Bun.deepEquals(again, request)) throw new Error("a request does not survive");
    return request;
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

export const target: FuzzTarget = {
  what: "the launcher and its VMM: requests with descriptors, answers and notices, from either that was taken over",
  maxBytes: 512,
  dictionary: [
    '"kind":"launch"',
    '"kind":"guard"',
    '"kind":"started"',
    '"kind":"failed"',
    '"id":7',
    '"errno":',
    "\\u0000",
  ],
  seeds: () =>
    ["started", "failed"].map((kind) =>
      Buffer.concat([Uint8Array.of(1), Buffer.from(JSON.stringify({ kind, id: 7, pid: 5, errno: 2, why: "no" }))]),
    ),
  open: () => {
    const { masterFd, path } = openPty();
    const terminal = libc.open(cString(path), OPEN_TERMINAL, 0);
    const settings = terminalSettings(terminal);
    const descriptors = [terminal, openSync("/dev/null", "r+"), masterFd, terminal] as const;
    const [requests, ourRequests] = socketPair("messages");
    const [notices, ourNotices] = socketPair();
    // It is one for all runs, since what it maps is for the life of a process.
    const server = new LauncherServer(programs, requests, notices);
    return (input) => {
      if (input.below(4) === 1) hearLauncher(input);
      else askLauncher(input, { server, ourRequests, ourNotices }, descriptors, settings);
    };
  },
};

/** The VMM hears anything. */
function hearLauncher(input: Input): void {
  const fds = input.below(3);
  const bytes = input.rest();
  let answer: Answer | undefined;
  try {
    answer = decodeAnswer(bytes, fds);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
  }
  if (answer !== undefined && !Bun.deepEquals(decodeAnswer(encodeAnswer(answer), fds), answer))
    throw new Error("an answer does not survive");
  const reader = new NoticeReader();
  const size = 1 + (bytes[0] ?? 0);
  const again: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size)
    for (const { id, status } of reader.read(bytes.subarray(at, at + size)))
      again.push(encodeNotice(id, status.kind === "exited" ? status.code << 8 : status.signal));
  if (again.length !== Math.floor(bytes.length / encodeNotice(0, 0).length)) throw new Error("notices are lost");
}

/** A launcher, and its VMM's ends of requests and notices. */
interface Asked {
  readonly server: LauncherServer;
  readonly ourRequests: number;
  readonly ourNotices: number;
}

/** A VMM asks for anything, and reads what comes of it. */
function askLauncher(
  input: Input,
  asked: Asked,
  descriptors: readonly [number, ...number[]],
  settings: Uint8Array,
): void {
  const { server, ourRequests, ourNotices } = asked;
  const [terminal] = descriptors;
  try {
    for (let count = 0; count < MOST_REQUESTS && !input.isEmpty; count++) {
      const bytes = input.below(8) === 1 ? input.take(1 + input.below(64)) : messageOf(input, settings);
      const fds = descriptors.slice(
        0,
        input.below(8) === 1 ? input.below(MOST_FDS) : Buffer.from(bytes).includes(GUARD) ? 1 : 3,
      );
      if (bytes.length === 0 || send(ourRequests, bytes, fds) === 0) return;
      if (!server.serveOnce()) throw new Error("the launcher ends while there is a VMM");
      const request = requestOf(bytes, fds.length);
      if (request?.kind === "launch") checkLaunch(asked, request);
      else if (receive(ourRequests) !== undefined) throw new Error("an answer to no question");
    }
  } finally {
    server.end();
    setTerminalSettings(terminal, settings);
    // Nobody waits for the ends of what was started last.
    while (receive(ourNotices) !== undefined);
  }
}

const GUARD = "guard";

/** Sees to it that a request is answered, and that what was started ends. */
function checkLaunch(
  { server, ourRequests, ourNotices }: Asked,
  { id, program, streams }: Request & { kind: "launch" },
): void {
  const received = receive(ourRequests);
  if (id === UNATTENDED) {
    if (received !== undefined) throw new Error("an answer that nobody waits for");
    return;
  }
  if (received === undefined) throw new Error(`request ${id} has no answer`);
  for (const fd of received.fds) libc.close(fd);
  const answer = decodeAnswer(received.bytes, received.fds.length);
  if (answer.id !== id) throw new Error(`an answer to ${answer.id}, not to ${id}`);
  if (answer.kind === "failed") return;
  if (program !== "true" || streams.some((index) => index < NOWHERE)) throw new Error(`${program} was started`);
  for (;;) {
    const notice = receive(ourNotices);
    if (notice !== undefined) {
      for (const ended of new NoticeReader().read(notice.bytes)) if (ended.id === id) return;
    }
    if (!server.serveOnce()) throw new Error("the launcher ends while there is a VMM");
  }
}
