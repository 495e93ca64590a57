import { describe, expect, test } from "bun:test";
import { type NetSettings, netDevice } from "../../../../../src/devices/virtio/net/device.ts";
import { Receiver } from "../../../../../src/devices/virtio/net/receiver.ts";
import { Transmitter } from "../../../../../src/devices/virtio/net/transmitter.ts";
import { BackEnd, type BackEndQueue } from "../../../../../src/devices/virtio/transport/back-end.ts";
import { createEventFd } from "../../../../../src/host/eventfd.ts";
import { libc } from "../../../../../src/host/libc.ts";
import { mapAnonymous } from "../../../../../src/host/mmap.ts";
import { FrameBatch } from "../../../../../src/net/frame-batch.ts";
import type { FrameCarrier } from "../../../../../src/net/frame-carrier.ts";
import type { RingDriver } from "../ring-driver.ts";
import { testMemory } from "../test-memory.ts";
import { TransportRig } from "../transport-rig.ts";

const RAM = 0x10_0000;
const DATA = RAM + 0x2_0000;
const HEADER = 12;

const settings: NetSettings = {
  mac: Uint8Array.of(0x2e, 1, 2, 3, 4, 5),
  mtu: 1500,
  pairs: 1,
  queueSize: 64,
  offloads: { csum: true, tso: true, ufo: true },
};

/** Room in mapped memory, for what the carrier moves. */
const staging = mapAnonymous(1 << 17);

/** A carrier that gives what `incoming` holds and keeps what is sent, as far as it has room. */
class TestCarrier implements FrameCarrier {
  readonly fd = createEventFd();
  readonly hasHeader: boolean;
  readonly ended = false;
  readonly incoming: Uint8Array[] = [];
  readonly sent: Uint8Array[] = [];
  room = Number.POSITIVE_INFINITY;

  constructor(hasHeader: boolean) {
    this.hasHeader = hasHeader;
  }

  receive(rooms: FrameBatch): number {
    for (let i = 0; i < rooms.count; i++) {
      const frame = this.incoming.shift();
      if (frame === undefined) return i;
      rooms.lengths[i] = frame.length;
      staging.u8.set(frame);
      this.#eachPiece(rooms, i, frame.length, (address, at, bytes) =>
        libc.memcpy(address, staging.address + at, bytes),
      );
    }
    return rooms.count;
  }

  send(frames: FrameBatch): number {
    for (let i = 0; i < frames.count; i++) {
      if (this.room-- <= 0) return i;
      const length = frames.lengths[i] ?? 0;
      this.#eachPiece(frames, i, length, (address, at, bytes) => libc.memcpy(staging.address + at, address, bytes));
      this.sent.push(staging.u8.slice(0, length));
    }
    return frames.count;
  }

  setOffloads(): void {}
  driverLeft(): void {}
  setActive(): void {}
  close(): void {}

  #eachPiece(
    { table, addresses, segments }: FrameBatch,
    frame: number,
    length: number,
    move: (address: number, at: number, bytes: number) => void,
  ): void {
    const [origin = 0] = addresses;
    const first = ((addresses[frame] ?? 0) - origin) / 16 + 1;
    let at = 0;
    for (let element = first; element < first + (segments[frame] ?? 0); element++) {
      const address = (table[element * 4] ?? 0) + (table[element * 4 + 1] ?? 0) * 2 ** 32;
      const bytes = Math.min(table[element * 4 + 2] ?? 0, length - at);
      move(address, at, bytes);
      at += bytes;
    }
  }
}

function setUp(hasHeader = true) {
  const memory = testMemory({ gpa: RAM, size: 1 << 20 });
  const rig = new TransportRig(netDevice(settings), memory);
  rig.openInterrupts();
  const backEnd = new BackEnd(netDevice(settings), rig.wiring, memory);
  const [receiveRing, transmitRing] = rig.start();
  const [receive, transmit] = backEnd.queues;
  if (!receiveRing || !transmitRing || !receive || !transmit) throw new Error("a network device has these queues");
  for (const queue of [receive, transmit]) expect(queue.update()).toBe("started");
  const carrier = new TestCarrier(hasHeader);
  const receiver = new Receiver(receive, carrier, memory);
  const transmitter = new Transmitter(transmit, carrier);
  return { memory, rig, receiveRing, transmitRing, receive, transmit, carrier, receiver, transmitter };
}

const frame = (bytes: number, first = 0): Uint8Array<ArrayBuffer> =>
  Uint8Array.from({ length: bytes }, (_, i) => first + i * 3);
const counted = ({ counters }: BackEndQueue): number[] => Array.from(counters);

/**
 * A driver that offers a chain that is nothing, and another one for each that comes back.
 * @returns how many have come back
 */
function offerEndlessly({ ring }: BackEndQueue, driver: RingDriver): () => number {
  if (ring === undefined) throw new Error("the driver has not started");
  let back = 0;
  const complete = ring.complete.bind(ring);
  ring.complete = (head, written) => {
    if (++back > 100 * driver.size) throw new Error("the thread never comes back");
    complete(head, written);
    driver.offer(0);
  };
  driver.describe(0, { address: DATA, length: 4 });
  for (let i = 0; i < driver.size; i++) driver.offer(0);
  return () => back;
}

test.each(["receive", "transmit"] as const)("a driver that keeps pace with bad chains keeps no thread: %s", (which) => {
  const { receive, transmit, receiveRing, transmitRing, receiver, transmitter } = setUp();
  if (which === "receive") {
    const back = offerEndlessly(receive, receiveRing);
    receiver.pump();
    expect(back()).toBeGreaterThanOrEqual(receiveRing.size);
  } else {
    const back = offerEndlessly(transmit, transmitRing);
    expect(transmitter.pump()).toBe(false);
    expect(back()).toBeGreaterThanOrEqual(transmitRing.size);
  }
});

describe("transmission", () => {
  test("batches go out in order, and come back with length 0 and one interrupt", () => {
    const { memory, rig, transmitRing, transmit, carrier, transmitter } = setUp();
    const frames = Array.from({ length: 60 }, (_, i) => frame(HEADER + 60 + i, i));
    frames.forEach((bytes, i) => {
      memory.write(DATA + i * 256, bytes);
      transmitRing.add({ address: DATA + i * 256, length: bytes.length });
    });
    expect(transmitter.pump()).toBe(false);
    expect(carrier.sent).toEqual(frames);
    expect(transmitRing.take().map(({ written }) => written)).toEqual(new Array(60).fill(0));
    expect(rig.raised(2)).toBe(true);
    const bytes = frames.reduce((sum, { length }) => sum + length - HEADER, 0);
    expect(counted(transmit)).toEqual([0, 0, bytes, 60]);
  });

  test("without room the rest stays in the ring, in order, behind a bad chain too", () => {
    const { memory, transmitRing, carrier, transmitter } = setUp();
    const frames = Array.from({ length: 9 }, (_, i) => frame(HEADER + 60, i));
    frames.forEach((bytes, i) => {
      memory.write(DATA + i * 256, bytes);
      if (i === 4) transmitRing.add({ address: DATA, length: 4 });
      if (i === 6) transmitRing.add({ address: 0xdead_0000, length: 100 });
      if (i === 7) transmitRing.add({ address: DATA, length: 100, writable: true });
      transmitRing.add({ address: DATA + i * 256, length: bytes.length });
    });
    carrier.room = 3;
    expect(transmitter.pump()).toBe(true);
    expect(carrier.sent).toEqual(frames.slice(0, 3));
    expect(transmitRing.take()).toHaveLength(3);
    carrier.room = 0;
    expect(transmitter.pump()).toBe(true);
    expect(transmitRing.take()).toHaveLength(0);
    carrier.room = 100;
    expect(transmitter.pump()).toBe(false);
    expect(carrier.sent).toEqual(frames);
    expect(transmitRing.take()).toHaveLength(9);
  });

  test("a carrier without headers gets the frames alone", () => {
    const { memory, transmitRing, transmit, carrier, transmitter } = setUp(false);
    memory.write(DATA, frame(200));
    transmitRing.add(
      { address: DATA, length: 5 },
      { address: DATA + 5, length: 30 },
      { address: DATA + 35, length: 77 },
    );
    expect(transmitter.pump()).toBe(false);
    expect(carrier.sent).toEqual([frame(112).slice(HEADER)]);
    expect(counted(transmit)).toEqual([0, 0, 100, 1]);
  });
});

describe("reception", () => {
  test("frames fill buffers in order; those without a frame stay in the ring", () => {
    const { memory, rig, receiveRing, receive, carrier, receiver } = setUp();
    for (let i = 0; i < 40; i++) receiveRing.add({ address: DATA + i * 2048, length: 2048, writable: true });
    for (let round = 0; round < 3; round++) {
      const frames = Array.from({ length: 9 }, (_, i) => frame(HEADER + 60 + i, round * 16 + i));
      carrier.incoming.push(...frames);
      expect(receiver.pump()).toBe("frames");
      expect(carrier.incoming).toEqual([]);
      const back = receiveRing.take();
      expect(back.map(({ written }) => written)).toEqual(frames.map(({ length }) => length));
      expect(rig.raised(1)).toBe(true);
      receiveRing.setUsedEvent(receiveRing.taken);
      back.forEach(({ head }, i) => {
        const bytes = new Uint8Array(HEADER + 60 + i);
        memory.read(DATA + head * 2048, bytes);
        const expected = frames[i]?.slice() ?? new Uint8Array();
        expected.set([1, 0], 10);
        expect(bytes).toEqual(expected);
      });
    }
    expect(counted(receive)).toEqual([3 * (9 * 60 + 36), 27, 0, 0]);
    for (let i = 0; i < 13; i++) carrier.incoming.push(frame(72));
    expect(receiver.pump()).toBe("buffers");
    expect(receiveRing.take()).toHaveLength(13);
    carrier.incoming.push(frame(72));
    expect(receiver.pump()).toBe("buffers");
    expect(carrier.incoming).toHaveLength(1);
  });

  test("what cannot take a frame comes back with length 0, and the frame goes into the next", () => {
    const { receiveRing, receive, carrier, receiver } = setUp();
    const good = { address: DATA, length: 2048, writable: true };
    receiveRing.add({ address: DATA, length: HEADER, writable: true });
    const first = receiveRing.add(good);
    receiveRing.add({ address: DATA, length: 2048 });
    receiveRing.add({ address: 0xdead_0000, length: 2048, writable: true });
    receiveRing.add({ address: DATA, length: 16 }, good);
    const second = receiveRing.add(good);
    carrier.incoming.push(frame(72), frame(73));
    receiver.pump();
    const back = receiveRing.take();
    expect(back).toHaveLength(6);
    expect(back.filter(({ written }) => written > 0)).toEqual([
      { head: first ?? -1, written: 72 },
      { head: second ?? -1, written: 73 },
    ]);
    expect(counted(receive)).toEqual([60 + 61, 2, 0, 0]);
  });

  test("a frame that the carrier drops takes a buffer and counts for nothing", () => {
    const { receiveRing, receive, carrier, receiver } = setUp();
    receiveRing.add({ address: DATA, length: 2048, writable: true });
    carrier.incoming.push(new Uint8Array(0));
    receiver.pump();
    expect(receiveRing.take()).toMatchObject([{ written: 0 }]);
    expect(counted(receive)).toEqual([0, 0, 0, 0]);
  });

  test("a carrier without headers: an empty one is put before each frame, wherever the buffers end", () => {
    const { memory, receiveRing, receive, carrier, receiver } = setUp(false);
    memory.write(DATA, new Uint8Array(4096).fill(0xee));
    receiveRing.add(
      { address: DATA, length: 11, writable: true },
      { address: DATA + 11, length: 3, writable: true },
      { address: DATA + 14, length: 1000, writable: true },
    );
    carrier.incoming.push(frame(60));
    receiver.pump();
    expect(receiveRing.take()).toMatchObject([{ written: 72 }]);
    const bytes = new Uint8Array(73);
    memory.read(DATA, bytes);
    expect(Array.from(bytes)).toEqual([...new Array(10).fill(0), 1, 0, ...frame(60), 0xee]);
    expect(counted(receive)).toEqual([60, 1, 0, 0]);
  });
});

describe("a batch of frames", () => {
  test("moves a frame to another's room, however both are cut", () => {
    const batch = new FrameBatch();
    const room = (at: number, ...lengths: number[]): void => {
      let address = staging.address + at;
      lengths.forEach((length, i) => {
        batch.table.set([address % 2 ** 32, Math.floor(address / 2 ** 32), length, 0], (batch.next + i) * 4);
        address += length;
      });
      batch.add(
        lengths.length,
        lengths.reduce((sum, length) => sum + length, 0),
      );
    };
    room(0, 10, 20, 70);
    room(1000, 50, 50);
    room(2000, 3, 4);
    staging.u8.set(frame(100), 1000);
    expect(batch.move(1, 0, 90)).toBe(true);
    expect(staging.u8.slice(0, 90)).toEqual(frame(90));
    expect(batch.move(1, 2, 7)).toBe(true);
    expect(staging.u8.slice(2000, 2007)).toEqual(frame(7));
    expect(batch.move(1, 2, 8)).toBe(false);
  });
});
