import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, constants, existsSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { ApiClient, ApiConnectionError } from "../../src/api/client/api-client.ts";
import { libc } from "../../src/host/libc.ts";
import { mapAnonymous } from "../../src/host/mmap.ts";
import { isTerminal, terminalSize } from "../../src/host/tty.ts";
import { scratchDir } from "../setup/cache.ts";
import { buildPayload } from "./build.ts";
import { eventually } from "./eventually.ts";
import { sleepsOf } from "./threads.ts";
import { vmmPath } from "./vmm.ts";

const PATIENCE_MS = 20_000;
const RING_BYTES = 1 << 20;

const buffer = mapAnonymous(65536);

let folder: string;
let vmm: Vmm | undefined;
let clients: Client[] = [];
beforeEach(async () => {
  folder = await scratchDir("consoles");
});
afterEach(async () => {
  for (const client of clients) client.close();
  clients = [];
  await vmm?.kill();
  vmm = undefined;
  await rm(folder, { recursive: true, force: true });
});

/** A program at the host's end of a console. */
abstract class Client {
  text = "";
  #read = 0;

  constructor() {
    clients.push(this);
  }

  /** Waits for a text, after the last one that was waited for. */
  says(text: string): Promise<true> {
    return eventually(`'${text}'`, PATIENCE_MS, () => {
      this.look();
      const at = this.text.indexOf(text, this.#read);
      if (at < 0) return undefined;
      this.#read = at + text.length;
      return true;
    });
  }

  /** Takes what has come. */
  look(): void {}
  abstract type(text: string): void;
  abstract close(): void;
}

/** A program that has a pseudo-terminal open. */
class PtyClient extends Client {
  readonly fd: number;
  #open = true;

  constructor(path: string) {
    super();
    this.fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    expect(isTerminal(this.fd)).toBeTrue();
  }

  override look(): void {
    for (;;) {
      const count = libc.read(this.fd, buffer.address, buffer.size);
      if (count <= 0) return;
      this.text += Buffer.from(buffer.u8.subarray(0, count)).toString("latin1");
    }
  }

  type(text: string): void {
    writeSync(this.fd, text);
  }

  close(): void {
    if (this.#open) closeSync(this.fd);
    this.#open = false;
  }
}

/** A client of a socket. */
class SocketClient extends Client {
  readonly #socket: Socket;
  ended = false;

  static async to(path: string): Promise<SocketClient> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = connect(path, resolve);
    socket.once("error", reject);
    await promise;
    return new SocketClient(socket);
  }

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.on("data", (bytes) => {
      this.text += bytes.toString("latin1");
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.ended = true;
    });
  }

  /** Stops reading, or goes on. */
  stall(stalled: boolean): void {
    if (stalled) this.#socket.pause();
    else this.#socket.resume();
  }

  type(text: string): void {
    this.#socket.write(text);
  }

  /** Sends no more, but goes on to read. */
  endTyping(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A monitor with the guest `lines`. */
class Vmm {
  readonly process: Subprocess<"ignore", "pipe", "pipe">;
  readonly api: ApiClient;
  readonly stdout: Promise<string>;
  readonly stderr: Promise<string>;

  private constructor(process: Subprocess<"ignore", "pipe", "pipe">, api: ApiClient) {
    this.process = process;
    this.api = api;
    this.stdout = process.stdout.text();
    this.stderr = process.stderr.text();
  }

  static async start(...consoles: readonly string[]): Promise<Vmm> {
    const socket = join(folder, "api.sock");
    const kernel = await buildPayload("lines");
    const process = Bun.spawn(
      [vmmPath(), "--kernel", kernel, "--memory", "size=64M", "--api-socket", socket, "-v", ...consoles],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    const started = new Vmm(process, await eventually("the API", PATIENCE_MS, () => clientOf(socket)));
    vmm = started;
    // The API answers before there is a VM.
    await eventually("the VM", PATIENCE_MS, () => (started.hasVm ? true : undefined));
    return started;
  }

  get hasVm(): boolean {
    return this.api.request({ method: "GET", endpoint: "vm.info" }).status === 200;
  }

  get config() {
    return JSON.parse(this.api.request({ method: "GET", endpoint: "vm.info" }).body).config;
  }

  put(endpoint: "vm.reboot" | "vm.pause" | "vm.resume" | "vm.shutdown" | "vm.boot" | "vm.delete"): void {
    const { status, body } = this.api.request({ method: "PUT", endpoint });
    if (status !== 204) throw new Error(`${endpoint}: ${status} ${body}`);
  }

  /** Bytes of private memory. */
  get memory(): number {
    const rollup = readFileSync(`/proc/${this.process.pid}/smaps_rollup`, "latin1");
    return Number(/^Anonymous:\s+(\d+)/m.exec(rollup)?.[1]) * 1024;
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }
}

/** A client of the API, if somebody listens already. */
function clientOf(socket: string): ApiClient | undefined {
  try {
    return new ApiClient(socket);
  } catch (error) {
    if (error instanceof ApiConnectionError) return undefined;
    throw error;
  }
}

/** The numbers of the whole lines that a guest has flooded a client with. */
function numbers(text: string): number[] {
  return [...text.matchAll(/^(\d{8})\.{55}$/gm)].map(([, digits]) => Number(digits));
}

const consecutive = (lines: readonly number[]): boolean =>
  lines.every((line, i) => i === 0 || line === (lines[i - 1] ?? 0) + 1);

describe("a pseudo-terminal", () => {
  test("of the serial port: its path is told, and programs come and go", async () => {
    const { config } = await Vmm.start("--serial", "pty", "--console", "off");
    const path = config.serial.file;
    expect(path).toMatch(/^\/dev\/pts\/\d+$/);
    const first = new PtyClient(path);
    // What the guest said before anybody was there is still there.
    await first.says("MACHINE UP\n");
    first.type("hello\n");
    await first.says("hello\n");
    first.close();
    await Bun.sleep(20);
    const second = new PtyClient(path);
    second.type("again\n");
    await second.says("again\n");
    second.type("quit\n");
    await second.says("PASS\n");
    expect(await vmm?.process.exited).toBe(0);
  });

  test("keeps the newest MiB for who comes later", async () => {
    const running = await Vmm.start("--serial", "pty", "--console", "pty");
    const { serial, console: virtioConsole } = running.config;
    const typist = new PtyClient(serial.file);
    await typist.says("MACHINE UP\n");
    const lines = 40_000;
    typist.type(`pour ${lines}\n`);
    await typist.says("POURED");
    const late = new PtyClient(virtioConsole.file);
    await late.says(`${lines - 1}`.padStart(8, "0"));
    const seen = numbers(late.text);
    expect(seen.at(-1)).toBe(lines - 1);
    // The newest, without a gap, and before them a little that was under way to nobody.
    const kept = seen.slice(-16_000);
    expect(consecutive(kept)).toBeTrue();
    expect(late.text.length).toBeLessThan(RING_BYTES + 20_000);
    typist.type("quit\n");
    await typist.says("PASS");
    expect(await running.process.exited).toBe(0);
  });

  test("a new size reaches the guest by itself, whoever sets it", async () => {
    const running = await Vmm.start("--serial", "pty", "--console", "pty");
    const { serial, console: virtioConsole } = running.config;
    const client = new PtyClient(virtioConsole.file);
    await client.says("CONSOLE UP 0,0\n");
    for (const [columns, rows] of [
      [100, 40],
      [132, 50],
    ] as const) {
      Bun.spawnSync(["stty", "-F", virtioConsole.file, "cols", `${columns}`, "rows", `${rows}`]);
      expect(terminalSize(client.fd)).toEqual({ columns, rows });
      await client.says(`SIZE ${columns} ${rows}\n`);
    }
    client.close();
    const next = new PtyClient(virtioConsole.file);
    Bun.spawnSync(["stty", "-F", virtioConsole.file, "cols", "90", "rows", "30"]);
    await next.says("SIZE 90 30\n");
    const typist = new PtyClient(serial.file);
    typist.type("quit\n");
    await typist.says("PASS");
    await running.process.exited;
  });

  test("is raw for each program, whatever the last one has left", async () => {
    const running = await Vmm.start("--serial", "pty", "--console", "off");
    const path = running.config.serial.file;
    const first = new PtyClient(path);
    await first.says("MACHINE UP\n");
    Bun.spawnSync(["stty", "-F", path, "sane"]);
    first.close();
    await eventually("a raw terminal", PATIENCE_MS, () => {
      const settings = Bun.spawnSync(["stty", "-F", path, "-a"]).stdout.toString();
      return settings.includes("-icanon") && settings.includes("-echo ") ? true : undefined;
    });
    const second = new PtyClient(path);
    second.type("quit\n");
    await second.says("PASS");
    await running.process.exited;
  });

  test("whose program does not read holds up no vCPU, and is told everything later", async () => {
    const running = await Vmm.start("--serial", "pty", "--console", "pty");
    const { serial, console: virtioConsole } = running.config;
    const witness = new PtyClient(virtioConsole.file);
    const client = new PtyClient(serial.file);
    await client.says("MACHINE UP\n");
    // Much more than the kernel keeps for a terminal.
    const lines = 400;
    client.type(`flood ${lines}\n`);
    await witness.says("FLOODED longest_us=");
    await client.says("FLOODED");
    expect(numbers(client.text)).toEqual(Array.from({ length: lines }, (_, i) => i));
    client.type("quit\n");
    await client.says("PASS");
    await running.process.exited;
  });

  test("has the same path after a reboot, and what was said before is not lost", async () => {
    const running = await Vmm.start("--serial", "pty", "--console", "pty");
    const before = running.config;
    running.put("vm.reboot");
    const client = new PtyClient(before.serial.file);
    // Nobody was there in the first life.
    await client.says("MACHINE UP\n");
    client.type("reset\n");
    await client.says("MACHINE UP\n");
    expect(running.config.serial).toEqual(before.serial);
    expect(running.config.console).toEqual(before.console);
    const other = new PtyClient(before.console.file);
    await other.says("CONSOLE UP");
    await other.says("CONSOLE UP");
    running.put("vm.delete");
    await eventually("the end of the pseudo-terminal", PATIENCE_MS, () =>
      existsSync(before.serial.file) ? undefined : true,
    );
    expect(running.process.exitCode).toBe(null);
  });
});

describe("a socket", () => {
  test("serves one client at a time, the newest; what they type is not lost while the guest does not read", async () => {
    const path = join(folder, "serial.sock");
    const running = await Vmm.start("--serial", `socket=${path}`, "--console", "off");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const first = await SocketClient.to(path);
    await first.says("MACHINE UP\n");
    const second = await SocketClient.to(path);
    await eventually("the end of the first client", PATIENCE_MS, () => (first.ended ? true : undefined));
    const typed = Array.from({ length: 1000 }, (_, i) => `line ${i}`).join("\n");
    second.type(`deaf 200\n${typed}\n`);
    await second.says(`${typed}\n`);
    // One that only sends no more still hears the guest.
    second.type("flood 10\n");
    second.endTyping();
    await second.says("FLOODED");
    const third = await SocketClient.to(path);
    third.type("quit\n");
    await third.says("PASS\n");
    expect(await running.process.exited).toBe(0);
    expect(existsSync(path)).toBeFalse();
  });

  test("clients stay over a reboot", async () => {
    const path = join(folder, "serial.sock");
    const running = await Vmm.start(
      "--serial",
      `socket=${path}`,
      "--console",
      `socket=${join(folder, "console.sock")}`,
    );
    const serial = await SocketClient.to(path);
    const virtioConsole = await SocketClient.to(join(folder, "console.sock"));
    await serial.says("MACHINE UP\n");
    await virtioConsole.says("CONSOLE UP 0,0\n");
    serial.type("reset\n");
    await serial.says("MACHINE UP\n");
    await virtioConsole.says("CONSOLE UP 0,0\n");
    virtioConsole.type("echo");
    await virtioConsole.says("echo");
    serial.type("quit\n");
    expect(await running.process.exited).toBe(0);
    expect(existsSync(join(folder, "console.sock"))).toBeFalse();
  });

  test("of the console whose client stops reading: the guest goes on, and neither memory nor the log grows", async () => {
    const path = join(folder, "console.sock");
    const running = await Vmm.start("--serial", "pty", "--console", `socket=${path}`);
    const typist = new PtyClient(running.config.serial.file);
    const client = await SocketClient.to(path);
    await client.says("CONSOLE UP 0,0\n");
    client.stall(true);
    await typist.says("MACHINE UP\n");
    const before = running.memory;
    const lines = 48_000;
    typist.type(`pour ${lines}\n`);
    // The guest is through while nobody reads.
    await typist.says("POURED");
    expect(running.memory - before).toBeLessThan(8 << 20);
    client.stall(false);
    await client.says(String(lines - 1).padStart(8, "0"));
    await client.says("\n");
    const seen = numbers(client.text);
    expect(seen.length).toBeLessThan(lines);
    expect(consecutive(seen.slice(-16_000))).toBeTrue();
    typist.type("quit\n");
    await typist.says("PASS");
    expect(await running.process.exited).toBe(0);
    expect((await running.stderr).split("\n").filter((line) => line.includes("lost")).length).toBe(1);
  });

  test("clients that come and go without a word cost nothing", async () => {
    const path = join(folder, "serial.sock");
    const running = await Vmm.start("--serial", `socket=${path}`, "--console", "off");
    for (let i = 0; i < 100; i++) (await SocketClient.to(path)).close();
    const client = await SocketClient.to(path);
    client.type("quit\n");
    await client.says("PASS");
    expect(await running.process.exited).toBe(0);
  });
});

test("all modes at the same time, with the debug console on a pseudo-terminal", async () => {
  const path = join(folder, "console.sock");
  const running = await Vmm.start(...["--serial", "pty", "--console", `socket=${path}`, "--debug-console", "pty"]);
  const { serial, debug_console: debug } = running.config;
  const serialClient = new PtyClient(serial.file);
  const debugClient = new PtyClient(debug.file);
  const consoleClient = await SocketClient.to(path);
  await serialClient.says("MACHINE UP\n");
  await consoleClient.says("CONSOLE UP 0,0\n");
  serialClient.type("debug\n");
  await debugClient.says("debug console\n");
  consoleClient.type("through the socket");
  await consoleClient.says("through the socket");
  // While the VM is paused, clients may come.
  running.put("vm.pause");
  const other = await SocketClient.to(path);
  other.type("typed in the pause");
  running.put("vm.resume");
  await other.says("typed in the pause");
  serialClient.type("quit\n");
  await serialClient.says("PASS");
  expect(await running.process.exited).toBe(0);
});

test("an idle VM whose consoles wait for clients uses no processor time", async () => {
  const path = join(folder, "console.sock");
  const running = await Vmm.start(...["--serial", "pty", "--console", `socket=${path}`, "--debug-console", "pty"]);
  // A pause waits for all threads, the last of which may still be on its way.
  running.put("vm.pause");
  running.put("vm.resume");
  await Bun.sleep(300);
  const before = sleepsOf(running.process.pid, "io");
  await Bun.sleep(1500);
  expect(sleepsOf(running.process.pid, "io") - before).toBeLessThan(3);
});
