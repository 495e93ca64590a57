import { describe, expect, test } from "bun:test";
import { NO_CHAIN, POSITION_WORDS } from "../../../../src/devices/virtio/queue/queue.ts";
import { QueueError } from "../../../../src/devices/virtio/queue/queue-error.ts";
import { type Buffer, RingDriver, type Used } from "./ring-driver.ts";
import { testMemory } from "./test-memory.ts";

/** xorshift32: the same sequence on every machine. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const BASE = 0x10_0000;
const RAM = { gpa: BASE, size: 0x10_0000 };

describe("random use", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])("agrees with a simple model of the ring (seed %i)", (seed) => {
    const random = randomFrom(seed * 0x9e37);
    const size = 1 << random(8);
    const eventIdx = random(2) === 1;
    const driver = new RingDriver(testMemory(RAM), BASE, size, eventIdx);
    const start = random(0x1_0000);
    driver.startAt(start);
    const positions = new Uint16Array(POSITION_WORDS).fill(start);
    let queue = driver.queue(positions);

    /** The model: what was offered and not popped, what is in flight, what was completed and not taken. */
    const offered: { head: number; buffers: Buffer[] }[] = [];
    const inFlight: number[] = [];
    const completed: Used[] = [];
    const published: Used[] = [];
    let used = start;
    let usedEvent = start;
    let popped = start;
    driver.setUsedEvent(usedEvent);

    for (let step = 0; step < 4000; step++) {
      switch (random(7)) {
        case 0:
        case 1: {
          const count = 1 + random(Math.min(size, 5));
          const readable = random(count + 1);
          const buffers = Array.from({ length: count }, (_, i) => ({
            address: BASE + 0x2_0000 + random(0x8_0000),
            length: random(9) === 0 ? 0 : 1 + random(0x1000),
            writable: i >= readable,
          }));
          const table = BASE + 0xc_0000 + 16 * size * random(16);
          const indirect = random(3) === 0 && inFlight.length + offered.length === 0;
          const head = indirect ? driver.addIndirect(table, ...buffers) : driver.add(...buffers);
          if (head !== undefined) offered.push({ head, buffers: buffers.filter(({ length }) => length > 0) });
          break;
        }
        case 2:
        case 3: {
          const expected = offered.shift();
          const head = queue.pop();
          expect(head).toBe(expected?.head ?? NO_CHAIN);
          if (expected === undefined) break;
          popped = (popped + 1) & 0xffff;
          const { chain } = queue;
          const buffers = Array.from({ length: chain.count }, (_, i) => ({
            address: chain.gpas[i] ?? 0,
            length: chain.lengths[i] ?? 0,
            writable: i >= chain.readableCount,
          }));
          expect(buffers).toEqual(expected.buffers.map((buffer) => ({ writable: false, ...buffer })));
          inFlight.push(head);
          break;
        }
        case 4: {
          const [head] = inFlight.splice(random(Math.max(1, inFlight.length)), 1);
          if (head === undefined) break;
          const written = random(0x1_0000_0000);
          queue.complete(head, written);
          completed.push({ head, written });
          break;
        }
        case 5: {
          const next = (used + completed.length) & 0xffff;
          // The driver wants to hear of the element at used_event: is it among those published now?
          const wanted = completed.some((_, i) => ((used + i) & 0xffff) === usedEvent);
          expect(queue.publish()).toBe(completed.length > 0 && (!eventIdx || wanted));
          published.push(...completed.splice(0));
          used = next;
          expect(driver.take()).toEqual(published.splice(0));
          if (random(2) === 0) {
            usedEvent = (used + random(4)) & 0xffff;
            driver.setUsedEvent(usedEvent);
          }
          break;
        }
        case 6:
          expect(queue.enableNotifications()).toBe(offered.length > 0);
          if (eventIdx) expect(driver.availEvent).toBe(popped);
          if (inFlight.length === 0 && completed.length === 0 && random(4) === 0) queue = driver.queue(positions);
          break;
      }
      expect(queue.inFlight).toBe(inFlight.length);
    }
    expect((used - start) & 0xffff).toBeGreaterThan(100);
  });

  test.each([11, 12, 13, 14])("survives any descriptors: refused, or wholly inside RAM (seed %i)", (seed) => {
    const random = randomFrom(seed * 0x9e37);
    const memory = testMemory(RAM);
    const SIZE = 16;
    let served = 0;
    let refused = 0;
    for (let round = 0; round < 300; round++) {
      const driver = new RingDriver(memory, BASE, SIZE);
      driver.startAt(0);
      const queue = driver.queue();
      const someAddress = (): number => (random(8) === 0 ? random(2 ** 31) * 2 ** random(33) : BASE + random(RAM.size));
      for (const table of [driver.setup.descriptorArea, BASE + 0x1_0000])
        for (let i = 0; i < SIZE; i++)
          driver.describe(
            i,
            {
              address: random(4) === 0 ? BASE + 0x1_0000 : someAddress(),
              length: random(4) === 0 ? random(2 ** 32) : 16 * random(SIZE),
              flags: random(12) === 0 ? random(0x1_0000) : ([0, 1, 2, 3, 4][random(5)] ?? 0),
              next: random(6) === 0 ? random(0x1_0000) : random(SIZE),
            },
            table,
          );
      const heads = Array.from({ length: SIZE }, (_, i) => (random(20) === 0 ? random(0x1_0000) : i));
      for (const head of heads) driver.offer(head);
      if (random(10) === 0) driver.setAvailable(random(0x1_0000));
      for (let i = 0; i < SIZE; i++)
        try {
          const head = queue.pop();
          if (head === NO_CHAIN) break;
          served++;
          const { chain } = queue;
          expect(chain.count).toBeLessThanOrEqual(SIZE);
          for (let j = 0; j < chain.count; j++) {
            expect(memory.hva(chain.gpas[j] ?? 0, chain.lengths[j] ?? 0)).toBe(chain.hvas[j] ?? 0);
            expect(chain.hvas[j]).toBeGreaterThan(0);
          }
          queue.complete(head, 0);
        } catch (error) {
          if (!(error instanceof QueueError)) throw error;
          refused++;
          if (error.head === undefined) break;
          queue.complete(error.head, 0);
        }
    }
    expect(served).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  });
});
