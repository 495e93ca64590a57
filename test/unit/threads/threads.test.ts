import { afterAll, describe, expect, test } from "bun:test";
import { struct, u8, u32 } from "../../../src/host/struct.ts";
import { installKickSignal } from "../../../src/host/thread.ts";
import { SharedArena } from "../../../src/threads/arena.ts";
import { ThreadControl, ThreadRequest, ThreadState } from "../../../src/threads/control.ts";
import { ThreadError } from "../../../src/threads/failure.ts";
import { StateBlock } from "../../../src/threads/state-block.ts";
import { WorkerThread } from "../../../src/threads/worker.ts";

installKickSignal();
const arena = new SharedArena(1 << 20);
afterAll(() => arena.close());
const entry = (name: string): string => new URL(`./${name}`, import.meta.url).href;

describe("Lock", () => {
  test("two threads lose no update", async () => {
    const block = arena.allocate(64);
    const workers = [1, 2].map((i) => new WorkerThread<object, number>(`lock${i}`, entry("lock-worker.ts")));
    const rounds = 100_000;
    const done = await Promise.all(workers.map((worker) => worker.run({ address: block.address, rounds })));
    expect(done).toEqual([rounds, rounds]);
    expect([block.u32[0], block.u32[4], block.u32[8]]).toEqual([0, 2 * rounds, 2 * rounds]);
    for (const worker of workers) worker.terminate();
  });
});

describe("WorkerThread", () => {
  test("a failing job is reported with the thread's name and the chain of causes, and the thread is not used again", async () => {
    const worker = new WorkerThread<object, number>("doomed", entry("lock-worker.ts"));
    const error = await worker.run({ address: 8, rounds: -1 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ThreadError);
    expect(String(error)).toBe("ThreadError: thread doomed failed");
    const cause = (error as Error).cause as Error;
    expect([cause.message, (cause.cause as Error).message, (cause.cause as Error).name]).toEqual([
      "negative rounds",
      "of the test",
      "TypeError",
    ]);
    expect(worker.run({ address: 8, rounds: 1 })).rejects.toBe(error as Error);
    worker.terminate();
  });

  test("does one job after the other", async () => {
    const worker = new WorkerThread<object, number>("twice", entry("lock-worker.ts"));
    const { address } = arena.allocate(64);
    expect(await worker.run({ address, rounds: 3 })).toBe(3);
    expect(await worker.run({ address, rounds: 4 })).toBe(4);
    worker.terminate();
  });
});

describe("ThreadControl", () => {
  test("a parked thread is seen, goes on when asked, and stops", async () => {
    const block = arena.allocate(ThreadControl.size);
    const control = new ThreadControl(block);
    control.open();
    const worker = new WorkerThread<number, number>("parker", entry("park-worker.ts"));
    const done = worker.run(block.address);
    for (let i = 0; i < 100; i++) {
      control.ask(ThreadRequest.PAUSE);
      expect(control.waitFor(ThreadState.PAUSED, 5000)).toBe(true);
      control.ask(ThreadRequest.RUN);
      expect(control.waitFor(ThreadState.RUNNING, 5000)).toBe(true);
    }
    expect(control.waitFor(ThreadState.STOPPED, 1)).toBe(false);
    control.ask(ThreadRequest.STOP);
    expect(control.waitFor(ThreadState.STOPPED, 5000)).toBe(true);
    expect(await done).toBeGreaterThanOrEqual(100);
    worker.terminate();
    control.close();
  });
});

describe("StateBlock and SharedArena", () => {
  const type = struct("sample", { a: u8, b: u32 });

  test("state is saved without the lock and restored into another block", () => {
    const first = new StateBlock(type, arena.allocate(StateBlock.sizeOf(type)));
    const second = new StateBlock(type, arena.allocate(StateBlock.sizeOf(type)));
    first.state.b = 42;
    const saved = first.save();
    expect(saved.length).toBe(type.size);
    second.restore(saved);
    expect(second.state.b).toBe(42);
    expect(() => second.restore(saved.subarray(1))).toThrow(RangeError);
  });

  test("blocks do not overlap, are refused when the arena is full, and are zero after a reset", () => {
    const small = new SharedArena(8192);
    const blocks = Array.from({ length: 4 }, () => small.allocate(100));
    const starts = blocks.map(({ address }) => address);
    expect(starts.map((start) => start - (starts[0] ?? 0))).toEqual([0, 128, 256, 384]);
    blocks[3]?.u8.fill(9);
    expect(() => small.allocate(8000)).toThrow(RangeError);
    small.reset();
    const again = small.allocate(512);
    expect(again.address).toBe(starts[0] ?? 0);
    expect(again.u8.every((byte) => byte === 0)).toBe(true);
    small.close();
  });
});
