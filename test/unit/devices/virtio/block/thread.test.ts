import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { IoEngineKind } from "../../../../../src/block/load-engine.ts";
import { BlockRequest, BlockStatus } from "../../../../../src/devices/virtio/block/protocol.ts";
import { signalEventFd } from "../../../../../src/host/eventfd.ts";
import { installKickSignal } from "../../../../../src/host/thread.ts";
import { ThreadRequest, ThreadState } from "../../../../../src/threads/control.ts";
import { WorkerThread } from "../../../../../src/threads/worker.ts";
import { openImage, TestFolder } from "../../../block/files.ts";
import { noIoUring } from "../../../host/io-uring.ts";
import { Random } from "../../../random.ts";
import { threadStatuses } from "../../../thread-statuses.ts";
import { DATA, Guest, SECTOR, settings } from "./harness.ts";
import type { QueueJob } from "./queue-worker.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());

const PATIENCE_MS = 20_000;
const { IN, OUT, FLUSH } = BlockRequest;
const engines: readonly IoEngineKind[] =
  noIoUring === undefined ? ["io_uring", "aio", "synchronous"] : ["aio", "synchronous"];

installKickSignal();
setDefaultTimeout(3 * PATIENCE_MS);

for (const engine of engines)
  describe(`a thread of its own, ${engine}`, () => {
    const SECTORS = 2048;
    const path = folder.file(`disk-${engine}`, new Uint8Array(SECTORS * SECTOR));

    /** The name of the test's thread: one that has ended may still be there for a moment. */
    let name = "";
    let threads = 0;

    /** Starts the worker, lets `act` be the driver, and stops it. */
    async function withThread(act: (guest: Guest) => void): Promise<void> {
      const opened = openImage(path);
      const guest = new Guest(settings(opened.image, { engines: [engine] }), true);
      name = `disk${threads++}_${engine}`.slice(0, 15);
      const thread = new WorkerThread<QueueJob, true>(name, new URL("./queue-worker.ts", import.meta.url).href);
      const [queue] = guest.wiring.queues;
      if (queue === undefined) throw new Error("no queue");
      const done = thread.run({
        name,
        wiring: { transport: guest.wiring, settings: guest.settings },
        ram: guest.memory.regions,
        control: queue.control,
      });
      try {
        act(guest);
      } finally {
        guest.control.ask(ThreadRequest.STOP);
        expect(await done).toBe(true);
        expect(guest.control.state).toBe(ThreadState.STOPPED);
        thread.terminate();
        guest.close();
        opened.close();
      }
    }

    /** Notifies, and sleeps until interrupts have brought all of `count` back. */
    function complete(guest: Guest, count: number): void {
      signalEventFd(guest.doorbell);
      for (let left = count - guest.driver.take().length; left > 0; left -= guest.driver.take().length) {
        guest.driver.setUsedEvent(guest.driver.taken);
        const back = guest.driver.take().length;
        if (back === 0) guest.awaitInterrupt(1, PATIENCE_MS);
        left -= back;
      }
    }

    test("serves what is asked for, through pauses and resets, and stops", async () => {
      const random = new Random(11);
      const reference = new Uint8Array(SECTORS * SECTOR);
      await withThread((guest) => {
        expect(guest.control.waitFor(ThreadState.RUNNING, PATIENCE_MS)).toBe(true);
        guest.start();
        for (let round = 0; round < 60; round++) {
          const count = 1 + random.below(16);
          const expected: { at: number; sector: number; length: number }[] = [];
          const used = new Set<number>();
          for (let i = 0; i < count; i++) {
            const sector = random.below(SECTORS / 16) * 16;
            if (used.has(sector)) continue;
            used.add(sector);
            const length = (1 + random.below(16)) * SECTOR;
            const at = DATA + i * 16 * SECTOR;
            if (random.below(2) === 0) {
              const bytes = new Uint8Array(length);
              random.fill(bytes);
              guest.memory.write(at, bytes);
              reference.set(bytes, sector * SECTOR);
              guest.request(OUT, sector, { address: at, length });
            } else {
              expected.push({ at, sector, length });
              guest.request(IN, sector, { address: at, length, writable: true });
            }
          }
          if (round % 10 === 3) {
            guest.control.ask(ThreadRequest.PAUSE);
            expect(guest.control.waitFor(ThreadState.PAUSED, PATIENCE_MS)).toBe(true);
            guest.control.ask(ThreadRequest.RUN);
          }
          complete(guest, used.size);
          for (const { at, sector, length } of expected)
            expect(
              Buffer.compare(guest.read(at, length), reference.subarray(sector * SECTOR, sector * SECTOR + length)),
            ).toBe(0);
          if (round % 20 === 13) {
            guest.reset();
            expect(guest.awaitReset(PATIENCE_MS)).toBe(true);
            guest.start();
          }
        }
        const status = guest.request(FLUSH, 0);
        complete(guest, 1);
        expect(guest.memory.readU8(status)).toBe(BlockStatus.OK);
      });
      expect(Buffer.compare(readFileSync(path), reference)).toBe(0);
    });

    test("is named, and sleeps while there is nothing to do", async () => {
      await withThread((guest) => {
        expect(guest.control.waitFor(ThreadState.RUNNING, PATIENCE_MS)).toBe(true);
        guest.start();
        guest.request(IN, 0, { address: DATA, length: SECTOR, writable: true });
        complete(guest, 1);
        const switches = (): number =>
          Number(
            threadStatuses("self")
              .find((thread) => thread.name === name)
              ?.field("voluntary_ctxt_switches"),
          );
        const before = switches();
        Bun.sleepSync(200);
        expect(switches() - before).toBeLessThan(20);
      });
    });

    test("a hostile ring ends in a request for a reset, and the queue works afterwards", async () => {
      await withThread((guest) => {
        guest.start();
        guest.driver.setAvailable(9999);
        signalEventFd(guest.doorbell);
        guest.awaitInterrupt(0, PATIENCE_MS);
        expect(guest.needsReset).toBe(true);
        guest.reset();
        expect(guest.awaitReset(PATIENCE_MS)).toBe(true);
        guest.start();
        guest.request(IN, 0, { address: DATA, length: SECTOR, writable: true });
        complete(guest, 1);
      });
    });
  });
