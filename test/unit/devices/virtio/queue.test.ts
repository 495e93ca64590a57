import { describe, expect, test } from "bun:test";
import { AVAIL_NO_INTERRUPT, DescriptorFlag } from "../../../../src/devices/virtio/queue/layout.ts";
import { NO_CHAIN, POSITION_WORDS, type Queue } from "../../../../src/devices/virtio/queue/queue.ts";
import { type QueueDefect, QueueError } from "../../../../src/devices/virtio/queue/queue-error.ts";
import { RingDriver } from "./ring-driver.ts";
import { testMemory } from "./test-memory.ts";

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;
const BASE = 0x1_0000;
const RAM = { gpa: BASE, size: 0x4_0000 };
const HIGH = { gpa: 2 ** 32, size: 0x1_0000 };
const SIZE = 8;

function rig(eventIdx = false): { driver: RingDriver; queue: Queue } {
  const driver = new RingDriver(testMemory(RAM, HIGH), BASE, SIZE, eventIdx);
  return { driver, queue: driver.queue() };
}

function defectOf(action: () => unknown): QueueError {
  try {
    action();
  } catch (error) {
    if (error instanceof QueueError) return error;
    throw error;
  }
  throw new Error("no QueueError was thrown");
}

function buffersOf({ chain }: Queue): [gpa: number, length: number, writable: boolean][] {
  return Array.from({ length: chain.count }, (_, i) => [
    chain.gpas[i] ?? 0,
    chain.lengths[i] ?? 0,
    i >= chain.readableCount,
  ]);
}

describe("chains", () => {
  test("direct descriptors come out in order, readable ones first, with their host addresses", () => {
    const { driver, queue } = rig();
    const head = driver.add(
      { address: BASE + 0x2000, length: 16 },
      { address: HIGH.gpa + 7, length: 3 },
      { address: BASE + 0x3000, length: 512, writable: true },
    );
    expect(queue.pop()).toBe(head ?? Number.NaN);
    expect(buffersOf(queue)).toEqual([
      [BASE + 0x2000, 16, false],
      [HIGH.gpa + 7, 3, false],
      [BASE + 0x3000, 512, true],
    ]);
    expect([...queue.chain.hvas.slice(0, 3)]).toEqual([
      driver.memory.hva(BASE + 0x2000, 16),
      driver.memory.hva(HIGH.gpa + 7, 3),
      driver.memory.hva(BASE + 0x3000, 512),
    ]);
    expect([queue.chain.readableBytes, queue.chain.writableBytes]).toEqual([19, 512]);
    expect(queue.pop()).toBe(NO_CHAIN);
  });

  test("an indirect table may follow direct descriptors, lie unaligned and hold as many buffers as the queue", () => {
    const { driver, queue } = rig();
    const table = BASE + 0x2001;
    for (let i = 0; i < SIZE - 1; i++)
      driver.describe(
        i,
        { address: BASE + 0x100 * i, length: 1, flags: WRITE | (i < SIZE - 2 ? NEXT : 0), next: i + 1 },
        table,
      );
    driver.describe(3, { address: BASE, length: 4, flags: NEXT, next: 5 });
    driver.describe(5, { address: table, length: 16 * 200, flags: INDIRECT | WRITE });
    driver.offer(3);
    expect(queue.pop()).toBe(3);
    expect(queue.chain.count).toBe(SIZE);
    expect(queue.chain.readableCount).toBe(1);
  });

  test("descriptors of no bytes are left out wherever they point", () => {
    const { driver, queue } = rig();
    driver.add(
      { address: 0, length: 0 },
      { address: BASE, length: 1 },
      { address: 2 ** 63, length: 0, writable: true },
    );
    queue.pop();
    expect(buffersOf(queue)).toEqual([[BASE, 1, false]]);
  });

  const table = BASE + 0x4000;
  const bad: [name: string, defect: QueueDefect, build: (driver: RingDriver) => void][] = [
    [
      "a loop",
      "chain too long",
      (d) => {
        d.describe(0, { address: BASE, length: 1, flags: NEXT, next: 1 });
        d.describe(1, { address: BASE, length: 1, flags: NEXT, next: 0 });
      },
    ],
    [
      "a loop of empty descriptors",
      "chain too long",
      (d) => d.describe(0, { address: 0, length: 0, flags: NEXT, next: 0 }),
    ],
    [
      "next beyond the table",
      "next beyond the table",
      (d) => d.describe(0, { address: BASE, length: 1, flags: NEXT, next: SIZE }),
    ],
    ["a buffer below RAM", "buffer outside RAM", (d) => d.describe(0, { address: BASE - 1, length: 2 })],
    [
      "a buffer over the end of RAM",
      "buffer outside RAM",
      (d) => d.describe(0, { address: BASE + RAM.size - 1, length: 2 }),
    ],
    ["a buffer that wraps", "buffer outside RAM", (d) => d.describe(0, { address: 2 ** 64 - 4096, length: 8192 })],
    ["a huge buffer", "buffer outside RAM", (d) => d.describe(0, { address: BASE, length: 0xffff_ffff })],
    [
      "readable after writable",
      "readable after writable",
      (d) => {
        d.describe(0, { address: BASE, length: 1, flags: NEXT | WRITE, next: 1 });
        d.describe(1, { address: BASE, length: 1 });
      },
    ],
    [
      "INDIRECT with NEXT",
      "indirect with next",
      (d) => d.describe(0, { address: table, length: 16, flags: INDIRECT | NEXT, next: 1 }),
    ],
    ["an empty table", "indirect table length", (d) => d.describe(0, { address: table, length: 0, flags: INDIRECT })],
    [
      "a table of 24 bytes",
      "indirect table length",
      (d) => d.describe(0, { address: table, length: 24, flags: INDIRECT }),
    ],
    [
      "a table outside RAM",
      "indirect table outside RAM",
      (d) => d.describe(0, { address: 16, length: 16, flags: INDIRECT }),
    ],
    [
      "a table over the end of RAM",
      "indirect table outside RAM",
      (d) => d.describe(0, { address: BASE + RAM.size - 16, length: 32, flags: INDIRECT }),
    ],
    [
      "a table in a table",
      "nested indirect table",
      (d) => {
        d.describe(0, { address: table, length: 16, flags: INDIRECT });
        d.describe(0, { address: table, length: 16, flags: INDIRECT }, table);
      },
    ],
    [
      "next beyond an indirect table",
      "next beyond the table",
      (d) => {
        d.describe(0, { address: table, length: 32, flags: INDIRECT });
        d.describe(0, { address: BASE, length: 1, flags: NEXT, next: 2 }, table);
      },
    ],
    [
      "a loop in an indirect table",
      "chain too long",
      (d) => {
        d.describe(0, { address: table, length: 16, flags: INDIRECT });
        d.describe(0, { address: BASE, length: 1, flags: NEXT, next: 0 }, table);
      },
    ],
    [
      "more buffers than the queue has, half of them indirect",
      "chain too long",
      (d) => {
        d.describe(0, { address: BASE, length: 1, flags: NEXT, next: 1 });
        d.describe(1, { address: table, length: 16 * SIZE, flags: INDIRECT });
        for (let i = 0; i < SIZE; i++)
          d.describe(i, { address: BASE, length: 1, flags: i < SIZE - 1 ? NEXT : 0, next: i + 1 }, table);
      },
    ],
  ];
  test.each(bad)("%s is refused, and the chain after it is served", (_name, defect, build) => {
    const { driver, queue } = rig();
    build(driver);
    driver.offer(0);
    driver.describe(7, { address: BASE, length: 5 });
    driver.offer(7);
    const error = defectOf(() => queue.pop());
    expect([error.defect, error.head]).toEqual([defect, 0]);
    expect(queue.chain.count).toBe(0);
    queue.complete(0, 0);
    expect(queue.pop()).toBe(7);
    queue.publish();
    expect(driver.take()).toEqual([{ head: 0, written: 0 }]);
  });

  test("more than 4 GiB in one chain is refused, exactly 4 GiB is not", () => {
    const big = testMemory(RAM, { gpa: 2 ** 33, size: 2 ** 31 });
    const driver = new RingDriver(big, BASE, SIZE);
    const queue = driver.queue();
    const half = { address: 2 ** 33, length: 2 ** 31 };
    driver.add(half, half);
    driver.add(half, { address: BASE, length: 1, writable: true }, { ...half, writable: true });
    expect(queue.pop()).toBe(0);
    expect(queue.chain.readableBytes).toBe(2 ** 32);
    expect(defectOf(() => queue.pop()).defect).toBe("chain too large");
  });
});

describe("rings", () => {
  test.each<[QueueDefect, (driver: RingDriver) => void]>([
    ["available index", (d) => d.setAvailable(SIZE + 1)],
    ["available index", (d) => d.setAvailable(0xffff)],
    ["head beyond the table", (d) => d.offer(SIZE)],
    ["head beyond the table", (d) => d.offer(0xffff)],
  ])("%s: no chain is to blame", (defect, build) => {
    const { driver, queue } = rig();
    build(driver);
    const error = defectOf(() => queue.pop());
    expect([error.defect, error.head]).toEqual([defect, undefined]);
  });

  test("a head that the device still holds is refused until it was completed", () => {
    const { driver, queue } = rig();
    driver.describe(2, { address: BASE, length: 1 });
    driver.offer(2);
    driver.offer(2);
    expect(queue.pop()).toBe(2);
    expect(queue.inFlight).toBe(1);
    expect(defectOf(() => queue.pop()).defect).toBe("head in flight");
    queue.complete(2, 0);
    expect(queue.inFlight).toBe(0);
    expect(() => queue.complete(2, 0)).toThrow(RangeError);
    expect(queue.pop()).toBe(2);
  });

  test.each<[QueueDefect, object]>([
    ["queue size", { size: 0 }],
    ["queue size", { size: 3 }],
    ["queue size", { size: 65536 }],
    ["ring alignment", { descriptorArea: BASE + 8 }],
    ["ring alignment", { driverArea: BASE + 1 }],
    ["ring alignment", { deviceArea: BASE + 2 }],
    ["ring outside RAM", { descriptorArea: 0 }],
    ["ring outside RAM", { driverArea: BASE + RAM.size - 4 - 2 * SIZE + 2 }],
    ["ring outside RAM", { deviceArea: BASE + RAM.size - 4 - 8 * SIZE + 4 }],
  ])("%s is refused at activation: %p", (defect, override) => {
    const { driver } = rig();
    const setup = { ...driver.setup, ...override };
    expect(defectOf(() => new RingDriver(driver.memory, BASE, SIZE).queueOf(setup)).defect).toBe(defect);
  });

  test("the last bytes of RAM hold the rings, and EVENT_IDX needs one word more", () => {
    const { driver } = rig();
    const driverArea = BASE + RAM.size - 4 - 2 * SIZE;
    const setup = { ...driver.setup, driverArea };
    expect(driver.queueOf(setup).pop()).toBe(NO_CHAIN);
    expect(defectOf(() => driver.queueOf({ ...setup, eventIdx: true })).defect).toBe("ring outside RAM");
  });

  test("rings may start at any address their alignment allows", () => {
    const memory = testMemory(RAM);
    for (const [driverLead, deviceLead] of [
      [2, 4],
      [4, 0],
      [6, 12],
    ] as const) {
      const driver = new RingDriver(memory, BASE + 0x1000 * deviceLead, 4, true, 0, driverLead, deviceLead);
      const queue = driver.queue();
      driver.setUsedEvent(0);
      const head = driver.add({ address: BASE, length: 9 });
      expect(queue.pop()).toBe(head ?? Number.NaN);
      queue.complete(head ?? 0, 3);
      expect(queue.publish()).toBe(true);
      expect(queue.enableNotifications()).toBe(false);
      expect(driver.availEvent).toBe(1);
      expect(driver.take()).toEqual([{ head: head ?? 0, written: 3 }]);
    }
  });

  test("a pop can be taken back", () => {
    const { driver, queue } = rig();
    driver.add({ address: BASE, length: 1 });
    driver.add({ address: BASE, length: 2 });
    expect(queue.pop()).toBe(0);
    expect(queue.pop()).toBe(1);
    queue.unpop(1);
    expect(queue.inFlight).toBe(1);
    expect(() => queue.unpop(1)).toThrow(RangeError);
    expect(queue.enableNotifications()).toBe(true);
    expect(queue.pop()).toBe(1);
    expect(queue.chain.lengths[0]).toBe(2);
  });

  test("used elements become visible together", () => {
    const { driver, queue } = rig();
    for (let i = 0; i < 3; i++) driver.add({ address: BASE, length: 1 });
    const heads = [queue.pop(), queue.pop(), queue.pop()];
    queue.complete(heads[2] ?? 0, 30);
    queue.complete(heads[0] ?? 0, 10);
    expect(driver.take()).toEqual([]);
    expect(queue.publish()).toBe(true);
    expect(driver.take()).toEqual([
      { head: heads[2] ?? 0, written: 30 },
      { head: heads[0] ?? 0, written: 10 },
    ]);
    expect(queue.publish()).toBe(false);
  });

  test("a new queue over the saved positions goes on where the old one stopped", () => {
    const driver = new RingDriver(testMemory(RAM), BASE, SIZE, true);
    let positions = new Uint16Array(POSITION_WORDS);
    const interrupts: number[] = [];
    driver.setUsedEvent(5);
    for (let i = 0; i < 20; i++) {
      driver.add({ address: BASE, length: i + 1 });
      const queue = driver.queue(positions);
      const head = queue.pop();
      expect(queue.chain.lengths[0]).toBe(i + 1);
      queue.complete(head, i);
      if (queue.publish()) interrupts.push(i);
      expect(driver.take()).toEqual([{ head, written: i }]);
      positions = positions.slice();
    }
    expect(interrupts).toEqual([5]);
  });
});

describe("interrupts and notifications", () => {
  const serve = (driver: RingDriver, queue: Queue, count: number): boolean => {
    for (let i = 0; i < count; i++) {
      driver.add({ address: BASE, length: 1 });
      queue.complete(queue.pop(), 0);
    }
    const wanted = queue.publish();
    driver.take();
    return wanted;
  };

  test("without EVENT_IDX the driver's flag decides", () => {
    const { driver, queue } = rig();
    expect(serve(driver, queue, 1)).toBe(true);
    driver.setFlags(AVAIL_NO_INTERRUPT);
    expect(serve(driver, queue, 1)).toBe(false);
    driver.setFlags(0);
    expect(serve(driver, queue, 1)).toBe(true);
  });

  test.each<[usedEvent: number, batches: number[], wanted: boolean[]]>([
    [0, [1, 1, 1], [true, false, false]],
    [2, [1, 1, 1, 1], [false, false, true, false]],
    [4, [1, 3, 1], [false, false, true]],
    [3, [1, 3, 1], [false, true, false]],
    [0xfff0, [8, 8], [false, false]],
  ])("with EVENT_IDX an interrupt comes when the used index passes used_event %i", (usedEvent, batches, wanted) => {
    for (const start of [0, 0xfffe]) {
      const driver = new RingDriver(testMemory(RAM), BASE, SIZE, true);
      driver.startAt(start);
      const queue = driver.queue(Uint16Array.of(start, start));
      driver.setUsedEvent(start + usedEvent);
      expect(batches.map((count) => serve(driver, queue, count))).toEqual(wanted);
    }
  });

  test("avail_event follows what the device has taken; chains that came meanwhile are reported", () => {
    const { driver, queue } = rig(true);
    expect(queue.enableNotifications()).toBe(false);
    expect(driver.availEvent).toBe(0);
    driver.add({ address: BASE, length: 1 });
    driver.add({ address: BASE, length: 1 });
    queue.pop();
    expect(queue.enableNotifications()).toBe(true);
    expect(driver.availEvent).toBe(1);
    queue.pop();
    expect(queue.enableNotifications()).toBe(false);
    expect(driver.availEvent).toBe(2);
  });

  test.each([false, true])("the driver is asked not to notify by a flag, with EVENT_IDX (%p) by none", (eventIdx) => {
    const { driver, queue } = rig(eventIdx);
    const flags = (): number => driver.memory.readU16(driver.setup.deviceArea);
    queue.disableNotifications();
    expect(flags()).toBe(eventIdx ? 0 : 1);
    expect(queue.enableNotifications()).toBe(false);
    expect(flags()).toBe(0);
    queue.disableNotifications();
    driver.add({ address: BASE, length: 1 });
    expect(queue.enableNotifications()).toBe(true);
    expect(flags()).toBe(0);
  });

  test("without EVENT_IDX nothing is written where avail_event would be", () => {
    const { driver, queue } = rig();
    driver.add({ address: BASE, length: 1 });
    queue.pop();
    expect(queue.enableNotifications()).toBe(false);
    expect(driver.availEvent).toBe(0);
  });
});

describe("access to a chain's bytes", () => {
  test("values are read across buffer borders and refused beyond the end", () => {
    const { driver, queue } = rig();
    driver.memory.write(BASE + 0x2000, Uint8Array.of(1, 2, 3));
    driver.memory.write(BASE + 0x2800, Uint8Array.of(4, 5, 6, 7, 8, 9));
    driver.add(
      { address: BASE + 0x2000, length: 3 },
      { address: BASE + 0x2800, length: 6 },
      { address: BASE + 0x3000, length: 2, writable: true },
      { address: BASE + 0x3100, length: 2, writable: true },
    );
    queue.pop();
    const { chain } = queue;
    expect(chain.readU32(0)).toBe(0x0403_0201);
    expect(chain.readU32(3)).toBe(0x0706_0504);
    expect(chain.readU64(1)).toBe(0x0908_0706 * 2 ** 32 + 0x0504_0302);
    expect(() => chain.readU32(6)).toThrow(RangeError);
    expect(() => chain.readU8(-1)).toThrow(RangeError);
    chain.write(1, Uint8Array.of(0xaa, 0xbb));
    expect([driver.memory.readU16(BASE + 0x3000), driver.memory.readU16(BASE + 0x3100)]).toEqual([0xaa00, 0xbb]);
    expect(() => chain.writeU8(4, 0)).toThrow(RangeError);
  });

  test("iovecs start anywhere and stop at the table's end", () => {
    const { driver, queue } = rig();
    const lengths = [4, 6, 8];
    driver.add(...lengths.map((length, i) => ({ address: BASE + 0x1000 * i, length, writable: i > 0 })));
    queue.pop();
    const { chain } = queue;
    const read = (skip: number, capacity: number, writable: boolean, limit?: number): number[][] => {
      const table = new Uint32Array(4 * capacity);
      const count = writable ? chain.writableIovecs(table, skip, limit) : chain.readableIovecs(table, skip, limit);
      return Array.from({ length: count }, (_, i) => [
        (table[i * 4] ?? 0) + (table[i * 4 + 1] ?? 0) * 2 ** 32,
        table[i * 4 + 2] ?? 0,
      ]);
    };
    const at = (i: number, offset: number): number => driver.memory.hva(BASE + 0x1000 * i + offset, 1);
    expect(read(1, 4, false)).toEqual([[at(0, 1), 3]]);
    expect(read(4, 4, false)).toEqual([]);
    expect(read(0, 4, true)).toEqual([
      [at(1, 0), 6],
      [at(2, 0), 8],
    ]);
    expect(read(7, 4, true)).toEqual([[at(2, 1), 7]]);
    expect(read(7, 4, true, 3)).toEqual([[at(2, 1), 3]]);
    expect(read(0, 4, true, 8)).toEqual([
      [at(1, 0), 6],
      [at(2, 0), 2],
    ]);
    expect(read(0, 1, true)).toEqual([[at(1, 0), 6]]);
  });
});
