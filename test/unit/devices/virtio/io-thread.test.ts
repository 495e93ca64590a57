import { afterAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CONSOLE_RECEIVE,
  CONSOLE_SIZE_WORD,
  CONSOLE_TRANSMIT,
  consoleDevice,
  consoleSizeWord,
} from "../../../../src/devices/virtio/console/device.ts";
import { rngDevice } from "../../../../src/devices/virtio/rng/device.ts";
import { Bar0 } from "../../../../src/devices/virtio/transport/bar-layout.ts";
import { DeviceStatus } from "../../../../src/devices/virtio/transport/state.ts";
import { Epoll } from "../../../../src/host/epoll.ts";
import { installKickSignal } from "../../../../src/host/thread.ts";
import type { GuestMemory } from "../../../../src/memory/guest-memory.ts";
import { refTo } from "../../../../src/threads/block-ref.ts";
import { ThreadRequest, ThreadState } from "../../../../src/threads/control.ts";
import { WorkerThread } from "../../../../src/threads/worker.ts";
import { chardevWiring } from "../chardev/rig.ts";
import type { IoJob } from "./io-worker.ts";
import type { RingDriver } from "./ring-driver.ts";
import { testMemory } from "./test-memory.ts";
import { TransportRig } from "./transport-rig.ts";
import { awaitInterrupt, awaitUsed, LIMIT_MS } from "./waits.ts";

installKickSignal();
const folder = mkdtempSync(join(tmpdir(), "io-thread-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

/** A pipe with a name, so that both ends are one non-blocking descriptor. */
function fifo(): number {
  const path = join(folder, `fifo${files++}`);
  if (Bun.spawnSync(["mkfifo", path]).exitCode !== 0) throw new Error("mkfifo failed");
  return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
}

const DATA = 0x18_0000;

const newMemory = (): GuestMemory =>
  testMemory({ gpa: 0x10_0000, size: 0x10_0000 }, { gpa: 0x20_0000, size: 0x10_0000 });

/** A machine of one I/O thread with a console and an entropy device, and the drivers of both. */
class Machine {
  readonly memory: GuestMemory;
  readonly console: TransportRig;
  readonly rng: TransportRig;
  readonly #worker: WorkerThread<IoJob, string>;
  readonly #done: Promise<string>;

  constructor(
    inputFd: number | undefined,
    outputFd: number | undefined,
    sourceFd: number,
    { memory = newMemory(), stallNs = 60e9 } = {},
  ) {
    const size = { columns: 80, rows: 25 };
    this.memory = memory;
    this.console = new TransportRig(consoleDevice(size), this.memory);
    this.rng = new TransportRig(rngDevice, this.memory);
    const { control } = this.console;
    // One thread serves both, so both use its control.
    const shared = refTo(this.console.controlBlock);
    Object.assign(this.rng.wiring.queues[0] ?? {}, { control: shared });
    Object.assign(this.rng, { front: this.rng.newFront() });
    this.#worker = new WorkerThread("io", new URL("./io-worker.ts", import.meta.url).href);
    const chardev =
      outputFd === undefined && inputFd === undefined
        ? undefined
        : chardevWiring({ kind: "fixed", outputFd: outputFd ?? openSync("/dev/null", "w"), inputFd });
    this.#done = this.#worker.run({
      control: shared,
      regions: this.memory.regions,
      console: { transport: this.console.wiring, size, output: chardev?.output, takesInput: inputFd !== undefined },
      chardev,
      stallNs,
      rng: { transport: this.rng.wiring, sourceFd, gate: undefined },
    });
    control.waitFor(ThreadState.RUNNING, LIMIT_MS);
    this.console.openInterrupts();
    this.rng.openInterrupts();
  }

  startConsole(): { input: RingDriver; output: RingDriver } {
    const [input, output] = this.console.start([16, 16]);
    if (input === undefined || output === undefined) throw new Error("no rings");
    return { input, output };
  }

  startRng(): RingDriver {
    const [ring] = this.rng.start([8], 0x20_0000);
    if (ring === undefined) throw new Error("no ring");
    return ring;
  }

  ask(request: ThreadRequest, state: ThreadState): void {
    this.console.control.ask(request);
    expect(this.console.control.waitFor(state, LIMIT_MS)).toBe(true);
  }

  async stop(): Promise<void> {
    this.ask(ThreadRequest.STOP, ThreadState.STOPPED);
    expect(await this.#done).toBe("stopped");
    this.#worker.terminate();
  }
}

function say(machine: Machine, output: RingDriver, ...texts: string[]): void {
  let at = DATA;
  const buffers = texts.map((text) => {
    const address = at;
    machine.memory.write(address, new TextEncoder().encode(text));
    at += text.length;
    return { address, length: text.length };
  });
  if (output.add(...buffers) === undefined) throw new Error("the ring is full");
  machine.console.ring(CONSOLE_TRANSMIT);
}

function heard(fd: number): string {
  const bytes = new Uint8Array(0x2_0000);
  try {
    return new TextDecoder().decode(bytes.subarray(0, readSync(fd, bytes)));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EAGAIN") return "";
    throw error;
  }
}

const text = (machine: Machine, address: number, length: number): string => {
  const bytes = new Uint8Array(length);
  machine.memory.read(address, bytes);
  return new TextDecoder().decode(bytes);
};

const urandom = openSync("/dev/urandom", "r");

describe("console", () => {
  test("output reaches a file in order, whatever the buffers; used lengths are 0", async () => {
    const path = join(folder, "output");
    const machine = new Machine(undefined, openSync(path, "w"), urandom);
    const { output } = machine.startConsole();
    const lines = Array.from({ length: 100 }, (_, i) => `line ${i} ${"x".repeat(i * 20)}\n`);
    for (const line of lines) {
      say(machine, output, line.slice(0, 3), line.slice(3));
      expect(awaitUsed(machine.console, output, 1).map(({ written }) => written)).toEqual([0]);
    }
    await machine.stop();
    expect(readFileSync(path, "utf8")).toBe(lines.join(""));
  });

  test("output that goes nowhere is taken all the same", async () => {
    const machine = new Machine(undefined, undefined, urandom);
    const { output } = machine.startConsole();
    for (let i = 0; i < 40; i++) {
      say(machine, output, "nobody hears this");
      awaitUsed(machine.console, output, 1);
    }
    await machine.stop();
  });

  test("a reader that is slow holds up the console but not the thread, and loses nothing", async () => {
    const pipe = fifo();
    const machine = new Machine(undefined, pipe, urandom);
    const { output } = machine.startConsole();
    const rng = machine.startRng();
    const block = "0123456789abcdef".repeat(0x4000);
    // The ring holds 1 MiB and a pipe 64 KiB: of six blocks of 256 KiB, four go through.
    for (let i = 0; i < 6; i++) say(machine, output, block);
    let used = awaitUsed(machine.console, output, 4).length;
    for (let i = 0; i < 20; i++) {
      rng.add({ address: 0x28_0000, length: 64, writable: true });
      machine.rng.ring(0);
      expect(awaitUsed(machine.rng, rng, 1)[0]?.written).toBe(64);
    }
    used += output.take().length;
    expect(used).toBe(4);
    const received: string[] = [];
    let length = 0;
    while (length < 6 * block.length) {
      const piece = heard(pipe);
      received.push(piece);
      length += piece.length;
      used += output.take().length;
    }
    if (used < 6) awaitUsed(machine.console, output, 6 - used);
    expect(received.join("") === block.repeat(6)).toBeTrue();
    await machine.stop();
  });

  test("a reader that has stopped holds the driver up once, and then costs the oldest output", async () => {
    const pipe = fifo();
    const machine = new Machine(undefined, pipe, urandom, { stallNs: 1e8 });
    const { output } = machine.startConsole();
    const blocks = Array.from({ length: 10 }, (_, i) => `${i}`.repeat(0x4_0000));
    // The driver's buffer is the same each time, so one block at a time.
    for (const block of blocks) {
      say(machine, output, block);
      awaitUsed(machine.console, output, 1);
    }
    const received: string[] = [];
    const epoll = new Epoll();
    epoll.add(pipe, 0);
    while (epoll.wait(200, () => received.push(heard(pipe))) > 0);
    epoll.close();
    const text = received.join("");
    // What the pipe had taken, and the newest MiB.
    expect(text.startsWith("0".repeat(0x1_0000))).toBeTrue();
    expect(text.endsWith(blocks.slice(6).join(""))).toBeTrue();
    expect(text.length).toBeLessThan(0x10_0000 + 0x1_0000 + 4096 + 1);
    await machine.stop();
  });

  test("a pause with output in flight gives the chain back, and the console goes on", async () => {
    const pipe = fifo();
    const machine = new Machine(undefined, pipe, urandom);
    const { output } = machine.startConsole();
    const block = "z".repeat(0x4_0000);
    for (let i = 0; i < 6; i++) say(machine, output, block);
    const before = awaitUsed(machine.console, output, 4).length;
    machine.ask(ThreadRequest.PAUSE, ThreadState.PAUSED);
    // One was being taken; the sixth has not been touched.
    expect(before + output.take().length).toBe(5);
    machine.ask(ThreadRequest.RUN, ThreadState.RUNNING);
    let last = "";
    for (let used = 5; used < 6 || !last.endsWith("after"); last = (last + heard(pipe)).slice(-5)) {
      if (used < 6) {
        used += output.take().length;
        if (used === 6) say(machine, output, "after");
      }
    }
    await machine.stop();
  });

  test("input waits for the driver's buffers and fills them as far as it goes", async () => {
    const pipe = fifo();
    const machine = new Machine(pipe, undefined, urandom);
    writeSync(pipe, "typed early");
    const { input } = machine.startConsole();
    input.add({ address: DATA, length: 5, writable: true }, { address: DATA + 0x100, length: 2, writable: true });
    input.add({ address: DATA + 0x200, length: 100, writable: true });
    machine.console.ring(CONSOLE_RECEIVE);
    expect(awaitUsed(machine.console, input, 2).map(({ written }) => written)).toEqual([7, 4]);
    expect(text(machine, DATA, 5) + text(machine, DATA + 0x100, 2) + text(machine, DATA + 0x200, 4)).toBe(
      "typed early",
    );
    for (let i = 0; i < 30; i++) {
      const line = `line ${i}`;
      writeSync(pipe, line);
      input.add({ address: DATA, length: 64, writable: true });
      machine.console.ring(CONSOLE_RECEIVE);
      expect(awaitUsed(machine.console, input, 1)[0]?.written).toBe(line.length);
      expect(text(machine, DATA, line.length)).toBe(line);
    }
    await machine.stop();
  });

  test("buffers that wait for input survive a pause", async () => {
    const pipe = fifo();
    const machine = new Machine(pipe, undefined, urandom);
    const { input } = machine.startConsole();
    for (let i = 0; i < 3; i++) input.add({ address: DATA + 0x100 * i, length: 64, writable: true });
    machine.console.ring(CONSOLE_RECEIVE);
    for (let i = 0; i < 3; i++) {
      machine.ask(ThreadRequest.PAUSE, ThreadState.PAUSED);
      writeSync(pipe, `pause ${i}`);
      machine.ask(ThreadRequest.RUN, ThreadState.RUNNING);
      expect(awaitUsed(machine.console, input, 1)).toEqual([{ head: i, written: 7 }]);
      expect(text(machine, DATA + 0x100 * i, 7)).toBe(`pause ${i}`);
    }
    await machine.stop();
  });

  test("a console whose input has ended is saved with all its buffers, and another machine fills them", async () => {
    const path = join(folder, "ended");
    expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    closeSync(openSync(path, constants.O_WRONLY));
    const machine = new Machine(reader, undefined, urandom);
    const { input, output } = machine.startConsole();
    input.add({ address: DATA + 0x1000, length: 64, writable: true });
    machine.console.ring(CONSOLE_RECEIVE);
    // Two round trips: after the first, the thread waits for its input too; after the second, it has seen the end.
    for (let i = 0; i < 2; i++) {
      say(machine, output, "x");
      awaitUsed(machine.console, output, 1);
    }
    machine.ask(ThreadRequest.PAUSE, ThreadState.PAUSED);
    const saved = machine.console.front.save();
    await machine.stop();

    const pipe = fifo();
    writeSync(pipe, "more");
    const next = new Machine(pipe, undefined, urandom, { memory: machine.memory });
    next.console.front.restore(saved);
    expect(awaitUsed(next.console, input, 1)).toEqual([{ head: 0, written: 4 }]);
    expect(text(next, DATA + 0x1000, 4)).toBe("more");
    say(next, output, "y");
    awaitUsed(next.console, output, 1);
    await next.stop();
  });

  test("the size is in the configuration; a change interrupts, as does the start", async () => {
    const machine = new Machine(undefined, undefined, urandom);
    const { console: rig } = machine;
    expect([rig.read(Bar0.DEVICE), rig.read(Bar0.DEVICE + 4), rig.read(Bar0.DEVICE + 8)]).toEqual([0x0019_0050, 1, 0]);
    machine.startConsole();
    awaitInterrupt(rig, 0);
    rig.front.changeConfig(CONSOLE_SIZE_WORD, consoleSizeWord({ columns: 132, rows: 43 }));
    awaitInterrupt(rig, 0);
    expect(rig.read(Bar0.DEVICE)).toBe(0x002b_0084);
    await machine.stop();
  });
});

describe("reset", () => {
  test("a driver starts and resets the device over and over, with output under way", async () => {
    const path = join(folder, "resets");
    const machine = new Machine(fifo(), openSync(path, "w"), urandom);
    for (let i = 0; i < 200; i++) {
      const { input, output } = machine.startConsole();
      input.add({ address: DATA + 0x8000, length: 64, writable: true });
      machine.console.ring(CONSOLE_RECEIVE);
      say(machine, output, `${i}\n`);
      if (i % 2 === 0) awaitUsed(machine.console, output, 1);
      machine.console.status = 0;
      expect(machine.console.status).toBe(0);
      const frozen = machine.memory.readU16(output.setup.deviceArea + 2);
      machine.console.ring(CONSOLE_TRANSMIT);
      expect(machine.memory.readU16(output.setup.deviceArea + 2)).toBe(frozen);
    }
    await machine.stop();
    const lines = readFileSync(path, "utf8").trimEnd().split("\n").map(Number);
    expect(lines.filter((line) => line % 2 === 0)).toEqual(Array.from({ length: 100 }, (_, i) => 2 * i));
    expect(lines.toSorted((a, b) => a - b)).toEqual(lines);
  });

  test("a driver resets the device while its output is held up", async () => {
    const pipe = fifo();
    const machine = new Machine(undefined, pipe, urandom);
    const first = machine.startConsole();
    const block = "a".repeat(0x4_0000);
    for (let i = 0; i < 6; i++) say(machine, first.output, block);
    awaitUsed(machine.console, first.output, 4);
    machine.console.status = 0;
    expect(machine.console.status).toBe(0);
    const { output } = machine.startConsole();
    let last = "";
    for (const word of ["one", "two"]) {
      say(machine, output, word);
      for (let used = 0; used < 1; used += output.take().length) last = (last + heard(pipe)).slice(-6);
    }
    while (last !== "onetwo") last = (last + heard(pipe)).slice(-6);
    await machine.stop();
  });

  test("a corrupt ring costs its device until the next reset, and no other device", async () => {
    const path = join(folder, "corrupt");
    const machine = new Machine(undefined, openSync(path, "w"), urandom);
    const { output } = machine.startConsole();
    const rng = machine.startRng();
    awaitInterrupt(machine.console, 0);
    output.setAvailable(5000);
    machine.console.ring(CONSOLE_TRANSMIT);
    awaitInterrupt(machine.console, 0);
    expect(machine.console.status).toBe(15 | DeviceStatus.NEEDS_RESET);
    rng.add({ address: 0x28_0000, length: 16, writable: true });
    machine.rng.ring(0);
    awaitUsed(machine.rng, rng, 1);
    machine.console.status = 0;
    expect(machine.console.status).toBe(0);
    const again = machine.startConsole();
    say(machine, again.output, "healed");
    awaitUsed(machine.console, again.output, 1);
    await machine.stop();
    expect(readFileSync(path, "utf8")).toBe("healed");
  });
});

describe("entropy", () => {
  test("buffers are filled from the source; the used length is what was read", async () => {
    const path = join(folder, "source");
    const source = "entropy from a file, which ends";
    writeFileSync(path, source);
    const machine = new Machine(undefined, undefined, openSync(path, "r"));
    const ring = machine.startRng();
    const at = 0x28_0000;
    ring.add({ address: at, length: 7, writable: true }, { address: at + 0x100, length: 3, writable: true });
    ring.add({ address: at + 0x200, length: 100, writable: true });
    ring.add({ address: 0, length: 100, writable: true });
    ring.add({ address: at + 0x300, length: 100 });
    ring.add({ address: at + 0x400, length: 100, writable: true });
    machine.rng.ring(0);
    expect(awaitUsed(machine.rng, ring, 5).map(({ written }) => written)).toEqual([10, source.length - 10, 0, 0, 0]);
    expect(text(machine, at, 7) + text(machine, at + 0x100, 3) + text(machine, at + 0x200, source.length - 10)).toBe(
      source,
    );
    await machine.stop();
  });

  test("no chain gets more than 64 KiB at a time, and different chains different bytes", async () => {
    const machine = new Machine(undefined, undefined, urandom);
    const ring = machine.startRng();
    ring.add({ address: 0x28_0000, length: 0x2_0000, writable: true });
    ring.add({ address: 0x2a_0000, length: 64, writable: true });
    machine.rng.ring(0);
    const used = awaitUsed(machine.rng, ring, 2).map(({ written }) => written);
    expect([used[0] ?? 0, used[1] ?? 0]).toEqual([0x1_0000, 64]);
    const first = new Uint8Array(64);
    const second = new Uint8Array(64);
    machine.memory.read(0x28_0000, first);
    machine.memory.read(0x2a_0000, second);
    expect(first).not.toEqual(second);
    await machine.stop();
  });

  test("an empty source is waited for, across a pause too", async () => {
    const pipe = fifo();
    const machine = new Machine(undefined, undefined, pipe);
    const ring = machine.startRng();
    ring.add({ address: 0x28_0000, length: 64, writable: true });
    machine.rng.ring(0);
    machine.ask(ThreadRequest.PAUSE, ThreadState.PAUSED);
    expect(ring.take()).toEqual([]);
    machine.ask(ThreadRequest.RUN, ThreadState.RUNNING);
    writeSync(pipe, "late");
    expect(awaitUsed(machine.rng, ring, 1)).toEqual([{ head: 0, written: 4 }]);
    await machine.stop();
  });
});
