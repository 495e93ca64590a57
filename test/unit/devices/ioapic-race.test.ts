import { expect, test } from "bun:test";
import { IOAPIC_PINS, IoApic } from "../../../src/devices/ioapic.ts";
import { Epoll } from "../../../src/host/epoll.ts";
import { createEventFd, drainEventFd } from "../../../src/host/eventfd.ts";
import { libc } from "../../../src/host/libc.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { WorkerThread } from "../../../src/threads/worker.ts";
import { block, write } from "./access.ts";
import type { MaskJob } from "./ioapic-worker.ts";

const PATIENCE_MS = 20_000;
const PULSES = 3000;

test(
  "no edge is lost while another thread masks and unmasks the pin",
  async () => {
    const memory = block(IoApic.blockSize);
    const eventFd = createEventFd();
    const pins = Array.from({ length: IOAPIC_PINS }, (_, pin) => ({ gsi: 24 + pin, eventFd }));
    const ioapic = new IoApic(memory, pins, { route: () => undefined, unroute: () => undefined });
    ioapic.reset();
    const epoll = new Epoll();
    epoll.add(eventFd, 0);
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const thread = new WorkerThread<MaskJob, number>("masker", new URL("./ioapic-worker.ts", import.meta.url).href);
    const done = thread.run({ block: refTo(memory), pins, stop });
    const line = ioapic.line(4);
    try {
      for (let i = 0; i < PULSES; i++) {
        line.pulse();
        if (epoll.wait(PATIENCE_MS, () => undefined) === 0) throw new Error(`edge ${i} was lost`);
        expect(drainEventFd(eventFd)).toBe(true);
      }
    } finally {
      Atomics.store(stop, 0, 1);
    }
    expect(await done).toBeGreaterThan(0);
    write(ioapic, 0, 0x18, 4);
    write(ioapic, 0x10, 0x34, 4);
    expect(drainEventFd(eventFd)).toBe(false);
    thread.terminate();
    epoll.close();
    libc.close(eventFd);
  },
  3 * PATIENCE_MS,
);
