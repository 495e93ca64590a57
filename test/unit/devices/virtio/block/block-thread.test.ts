import { afterEach, beforeEach, expect, test } from "bun:test";
import { BlockThread, type ServedBlockQueue } from "../../../../../src/devices/virtio/block/block-thread.ts";
import { mapAnonymous } from "../../../../../src/host/mmap.ts";
import { ThreadControl, ThreadRequest } from "../../../../../src/threads/control.ts";

const block = mapAnonymous(4096);
let control: ThreadControl;
let told: string[] = [];

beforeEach(() => {
  block.u8.fill(0);
  control = new ThreadControl(block);
  control.open();
  told = [];
});
afterEach(() => {
  control.close();
});

/** A queue whose requests end, one with each wait, in the order in which they were started on any queue. */
class FakeQueue implements ServedBlockQueue {
  underWay = 0;
  waiting = 0;
  ended = 0;
  recalled = false;
  readonly #name: string;
  readonly #order: FakeQueue[];

  constructor(name: string, order: FakeQueue[]) {
    this.#name = name;
    this.#order = order;
  }
  start(): boolean {
    const any = this.waiting > 0;
    for (; this.waiting > 0; this.waiting--) {
      this.underWay++;
      this.#order.push(this);
    }
    return any;
  }
  finish(): boolean {
    if (this.ended === 0) return false;
    told.push(`${this.#name} finished ${this.ended}`);
    this.underWay -= this.ended;
    this.ended = 0;
    return true;
  }
  update(): boolean {
    return this.recalled;
  }
  release(): void {
    expect(this.underWay).toBe(0);
    told.push(`${this.#name} released`);
    this.recalled = false;
  }
  putBack(): void {
    told.push(`${this.#name} put back`);
  }
  interrupt(): void {
    told.push(`${this.#name} interrupted`);
  }
  hasChains(): boolean {
    return this.waiting > 0;
  }
  enableNotifications(): boolean {
    told.push(`${this.#name} notifies`);
    return this.waiting > 0;
  }
}

/** Serves two queues. @param steps each runs when the thread sleeps with nothing under way; after the last it is stopped */
function serve(steps: readonly ((first: FakeQueue, second: FakeQueue) => void)[]): void {
  const order: FakeQueue[] = [];
  const [first, second] = [new FakeQueue("first", order), new FakeQueue("second", order)];
  const left = [...steps];
  const wait = (sleep: boolean): void => {
    const done = sleep ? order.shift() : undefined;
    if (done !== undefined) done.ended++;
    else if (sleep) {
      told.push("sleeps");
      const step = left.shift();
      if (step === undefined) control.ask(ThreadRequest.STOP);
      else step(first, second);
    }
  };
  new BlockThread([first, second], { wait, watch: () => undefined }, control).run();
}

test("before it sleeps, the driver is to notify about every queue", () => {
  serve([]);
  expect(told).toEqual(["first notifies", "second notifies", "sleeps", "first put back", "second put back"]);
});

test("what one queue has got is served though the thread slept for another", () => {
  serve([
    (_, second) => {
      second.waiting = 2;
    },
  ]);
  expect(told).toContain("second finished 1");
  expect(told.filter((line) => line.startsWith("second finished"))).toHaveLength(2);
});

test("a queue that is taken back is drained, and others get what ends meanwhile", () => {
  serve([
    (first, second) => {
      first.waiting = 2;
      first.start();
      second.waiting = 1;
      second.start();
      second.recalled = true;
    },
  ]);
  const released = told.indexOf("second released");
  expect(told.slice(told.indexOf("sleeps") + 1, released + 1)).toEqual([
    "second put back",
    "first finished 1",
    "first finished 1",
    "second finished 1",
    "second released",
  ]);
});

test("a stop waits for the requests of all", () => {
  serve([
    (first, second) => {
      first.waiting = 1;
      first.start();
      second.waiting = 1;
      second.start();
      control.ask(ThreadRequest.STOP);
    },
  ]);
  expect(told.slice(-4)).toEqual(["first put back", "second put back", "first finished 1", "second finished 1"]);
});

test("what is asked while a queue is drained, by a signal that ends the drain's wait, is done before the thread sleeps", () => {
  const order: FakeQueue[] = [];
  const queue = new FakeQueue("first", order);
  queue.waiting = 1;
  queue.start();
  queue.recalled = true;
  const wait = (sleep: boolean): void => {
    if (!sleep) return;
    if (control.request === ThreadRequest.STOP) throw new Error("asleep though it is to stop");
    control.ask(ThreadRequest.STOP);
    const done = order.shift();
    if (done !== undefined) done.ended++;
  };
  new BlockThread([queue], { wait, watch: () => undefined }, control).run();
  expect(told).toContain("first released");
});
