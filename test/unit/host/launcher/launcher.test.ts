import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Errno, SysError } from "../../../../src/host/errno.ts";
import { Launcher, LauncherError } from "../../../../src/host/launcher/launcher.ts";
import {
  decodeAnswer,
  encodeRequest,
  MAX_MESSAGE_BYTES,
  MAX_STREAMS,
  ProtocolError,
} from "../../../../src/host/launcher/protocol.ts";
import { libc } from "../../../../src/host/libc.ts";
import { waitReadable } from "../../../../src/host/poll.ts";
import { Signal } from "../../../../src/host/thread.ts";
import { endSending, receive, send, socketPair } from "../../../../src/host/unix-socket.ts";
import { openDescriptors, openedSince } from "../../open-descriptors.ts";
import { unlessGone } from "../../unless-gone.ts";

const COMMAND = [process.execPath, join(import.meta.dir, "test-launcher.ts")];
const PATIENCE_MS = 10_000;

let launchers: Launcher[] = [];
afterEach(() => {
  for (const launcher of launchers) launcher.end();
  launchers = [];
});

function start(onEnd: (how: string) => void = () => undefined): Launcher {
  const launcher = new Launcher(COMMAND, onEnd);
  launchers.push(launcher);
  return launcher;
}

/** Runs a script with one end of a connection as its input, output and descriptor 3. */
function run(launcher: Launcher, script: string) {
  const [fd, theirFd] = socketPair();
  try {
    const child = launcher.launch({ program: "sh", args: [script], streams: [theirFd, theirFd, undefined, theirFd] });
    return { child, fd };
  } catch (error) {
    libc.close(fd);
    throw error;
  } finally {
    libc.close(theirFd);
  }
}

/** What comes until the other side ends, and closes our side. */
function readAll(fd: number): string {
  let text = "";
  for (;;) {
    expect(waitReadable(fd, PATIENCE_MS)).toBeTrue();
    const received = receive(fd);
    if (received === undefined || received.bytes.length === 0) break;
    text += new TextDecoder().decode(received.bytes);
  }
  libc.close(fd);
  return text;
}

/** Waits for what the event loop has to do. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!condition()) {
    expect(performance.now()).toBeLessThan(deadline);
    await Bun.sleep(1);
  }
}

test("a program has the streams that it is given and nothing else, in a session of its own, deaf to no signal", async () => {
  const launcher = start();
  const { child, fd } = run(launcher, "ls -l /proc/$$/fd; cat /proc/$$/stat /proc/self/status; pwd");
  const said = readAll(fd);
  expect(await child.exited).toEqual({ kind: "exited", code: 0 });
  const links = [...said.matchAll(/ (\d+) -> (\S+?)(?::\S+)?$/gm)].map(([, number, target]) => `${number} ${target}`);
  expect(links).toEqual(["0 socket", "1 socket", "2 /dev/null", "3 socket"]);
  // pid (comm) state ppid pgrp session
  expect(said).toMatch(new RegExp(`^${child.pid} \\(sh\\) \\S ${launcher.pid} ${child.pid} ${child.pid} `, "m"));
  expect(said).toMatch(/^SigBlk:\s0+$/m);
  expect(said).toMatch(/^SigIgn:\s0+$/m);
  expect(said).toEndWith("\n/\n");
});

test("a program may run on all CPUs that its VMM may run on", () => {
  const { fd } = run(start(), "grep Cpus_allowed: /proc/self/status");
  expect(readAll(fd).trim()).toBe(/^Cpus_allowed:.*$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[0] ?? "");
});

test("descriptors reach the numbers asked for, however they lie in the launcher", () => {
  const launcher = start();
  const pairs = [socketPair(), socketPair(), socketPair()] as const;
  const [a, b, c] = pairs;
  launcher.launch({
    program: "sh",
    args: ["echo c; echo b >&4; echo a >&3; echo b >&5"],
    streams: [undefined, c[1], undefined, a[1], b[1], b[1]],
  });
  for (const [, theirs] of pairs) libc.close(theirs);
  expect([a, b, c].map(([ours]) => readAll(ours))).toEqual(["a\n", "b\nb\n", "c\n"]);
});

test("as many descriptors as there may be: none lies on the way of another", () => {
  const launcher = start();
  const pairs = [socketPair(), socketPair(), socketPair()] as const;
  const numbers = Array.from({ length: MAX_STREAMS - 3 }, (_, i) => i + 3);
  const sourceOf = (number: number): number => pairs[number % 3]?.[1] ?? -1;
  const streams = [undefined, pairs[0][1], undefined, ...numbers.map(sourceOf)];
  launcher.launch({ program: "sh", args: ["ls -l /proc/$$/fd"], streams });
  for (const [, theirs] of pairs) libc.close(theirs);
  const links = new Map(
    [...readAll(pairs[0][0]).matchAll(/ (\d+) -> (socket:\S+)$/gm)].map(([, number, link]) => [Number(number), link]),
  );
  expect([...links.keys()].toSorted((x, y) => x - y)).toEqual([1, ...numbers]);
  expect(new Set(links.values()).size).toBe(3);
  for (const number of numbers) expect(links.get(number)).toBe(links.get(3 + (number % 3)));
  expect(links.get(3)).toBe(links.get(1));
  for (const [ours] of pairs.slice(1)) libc.close(ours);
});

test("how a program ends is told, and a signal reaches it", async () => {
  const launcher = start();
  const ends = run(launcher, "read _; exit 7");
  const waits = run(launcher, "read _");
  expect(waits.child.waitForEnd(0)).toBeFalse();
  waits.child.kill(Signal.TERM);
  expect(waits.child.waitForEnd(PATIENCE_MS)).toBeTrue();
  endSending(ends.fd);
  expect(await waits.child.exited).toEqual({ kind: "killed", signal: Signal.TERM });
  expect(await ends.child.exited).toEqual({ kind: "exited", code: 7 });
  // No zombie stays, and signals to what is gone are no error.
  for (const { child, fd } of [ends, waits]) {
    expect(existsSync(`/proc/${child.pid}`)).toBeFalse();
    child.kill(Signal.KILL);
    expect(child.waitForEnd(0)).toBeTrue();
    libc.close(fd);
  }
});

test("what cannot be started is an error, after which others can", async () => {
  const launcher = start();
  const streams = [undefined, undefined, undefined];
  const errorOf = (program: string, args: readonly string[]): unknown => {
    try {
      return launcher.launch({ program, args, streams });
    } catch (error) {
      return error;
    }
  };
  const missing = errorOf("missing", []);
  expect(missing).toBeInstanceOf(SysError);
  expect(missing).toMatchObject({ errno: Errno.ENOENT, message: "start missing: ENOENT" });
  expect(errorOf("cat", [])).toEqual(new LauncherError("the launcher does not start cat: no program is called 'cat'"));
  expect(errorOf("sh", ["exit", "1"])).toBeInstanceOf(LauncherError);
  expect(errorOf("sh", ["x".repeat(MAX_MESSAGE_BYTES)])).toBeInstanceOf(ProtocolError);
  expect(() => launcher.launch({ program: "sh", args: [""], streams: new Array(17).fill(0) })).toThrow(ProtocolError);
  const { child, fd } = run(launcher, "exit 3");
  expect(await child.exited).toEqual({ kind: "exited", code: 3 });
  libc.close(fd);
});

test("a launcher that is killed is an error of the next request, and what it has started goes on", async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  const launcher = start(resolve);
  const { child, fd } = run(launcher, "while read line; do echo $line; done");
  process.kill(launcher.pid, "SIGKILL");
  expect(await promise).toBe("SIGKILL");
  expect(() => run(launcher, "exit")).toThrow("is gone: restart the VMM");
  expect(() => launcher.guardTerminal(fd, new Uint8Array(1), new Uint8Array(1))).toThrow(LauncherError);
  send(fd, new TextEncoder().encode("still here\n"));
  expect(waitReadable(fd, PATIENCE_MS)).toBeTrue();
  expect(new TextDecoder().decode(receive(fd)?.bytes)).toBe("still here\n");
  child.kill(Signal.KILL);
  expect(child.waitForEnd(PATIENCE_MS)).toBeTrue();
  child.release();
  libc.close(fd);
});

test("a launcher that is ended is gone at once, and its end is no surprise", async () => {
  let surprise = false;
  const launcher = start(() => {
    surprise = true;
  });
  const { child, fd } = run(launcher, "cat");
  launcher.end();
  expect(isRunning(launcher.pid)).toBeFalse();
  expect(() => run(launcher, "exit")).toThrow(LauncherError);
  child.kill(Signal.KILL);
  child.waitForEnd(PATIENCE_MS);
  child.release();
  libc.close(fd);
  await until(() => !existsSync(`/proc/${launcher.pid}`));
  expect(surprise).toBeFalse();
});

/** Whether a process has memory still: one that has ended has none, be it that nobody has reaped it. */
function isRunning(pid: number): boolean {
  return (unlessGone(() => readFileSync(`/proc/${pid}/cmdline`, "latin1")) ?? "") !== "";
}

test("no descriptor is left, here or in the launcher", async () => {
  const before = openDescriptors();
  const launcher = start();
  const theirFds = (): number => readdirSync(`/proc/${launcher.pid}/fd`).length;
  const { child, fd } = run(launcher, "exit");
  await child.exited;
  libc.close(fd);
  const warm = openDescriptors();
  const theirs = theirFds();
  for (let i = 0; i < 20; i++) {
    const { child, fd } = run(launcher, "exit");
    expect(() => launcher.launch({ program: "sh", args: [], streams: [fd, fd, fd] })).toThrow(LauncherError);
    await child.exited;
    libc.close(fd);
  }
  expect(openedSince(warm)).toEqual([]);
  // It closes what came with a request after it has answered.
  await until(() => theirFds() === theirs);
  launcher.end();
  await until(() => openedSince(before).length === 0);
});

test("malformed requests are dropped, and their descriptors closed; the end of the connection ends everything", async () => {
  const [requests, theirRequests] = socketPair("messages");
  const [notices, theirNotices] = socketPair();
  const server = Bun.spawn(COMMAND, { stdio: [theirRequests, theirNotices, "inherit"] });
  for (const fd of [theirRequests, theirNotices]) libc.close(fd);
  const [witness, theirs] = socketPair();
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);
  for (const bytes of [
    text("?"),
    text('{"kind":"guard"}'),
    encodeRequest({ kind: "launch", id: 1, program: "sh", args: [""], streams: [0, 0, 0, 0] }).subarray(1),
  ])
    send(requests, bytes, [theirs], true);
  libc.close(theirs);
  // The launcher holds no end of it any more.
  expect(readAll(witness)).toBe("");
  send(
    requests,
    encodeRequest({ kind: "launch", id: 2, program: "sh", args: ["sleep 1000"], streams: [-1, -1, -1] }),
    [],
    true,
  );
  expect(waitReadable(requests, PATIENCE_MS)).toBeTrue();
  const received = receive(requests);
  const [pidFd = -1] = received?.fds ?? [];
  expect(decodeAnswer(received?.bytes ?? new Uint8Array(), 1)).toMatchObject({ kind: "started", id: 2 });
  libc.close(requests);
  expect(await server.exited).toBe(0);
  expect(waitReadable(pidFd, PATIENCE_MS)).toBeTrue();
  for (const fd of [pidFd, notices]) libc.close(fd);
});
