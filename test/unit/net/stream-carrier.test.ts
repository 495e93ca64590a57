import { afterEach, beforeEach, expect, test } from "bun:test";
import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { makeNonBlocking, receive, send, socketPair } from "../../../src/host/unix-socket.ts";
import { FrameBatch } from "../../../src/net/frame-batch.ts";
import { onWire } from "../../../src/net/stream/protocol.ts";
import { StreamCarrier } from "../../../src/net/stream/stream-carrier.ts";
import { Random } from "../random.ts";

const PIECE_BYTES = 4096;
const PLACES = 8;
const PLACE_BYTES = 72 << 10;
const memory = mapAnonymous(PLACES * PLACE_BYTES);

let ours = -1;
let theirs = -1;
let carrier: StreamCarrier;

beforeEach(() => {
  [ours, theirs] = socketPair();
  makeNonBlocking(ours);
  carrier = new StreamCarrier(ours);
});
afterEach(() => {
  carrier.close();
  libc.close(ours);
  libc.close(theirs);
});

function frameOf(random: Random, bytes: number): Uint8Array {
  const frame = new Uint8Array(bytes);
  random.fill(frame.subarray(0, 64));
  frame.fill(random.below(256), 64);
  return frame;
}

const place = (index: number): Uint8Array => memory.u8.subarray(index * PLACE_BYTES, (index + 1) * PLACE_BYTES);

/** Describes a place of memory in pieces of `piece` bytes. */
function describe(batch: FrameBatch, index: number, bytes: number, piece: number): void {
  const first = batch.next;
  let segments = 0;
  for (let at = 0; at < bytes; at += piece, segments++) {
    const address = memory.address + index * PLACE_BYTES + at;
    setIovec(batch.table, first + segments, address, Math.min(piece, bytes - at));
  }
  batch.add(segments, bytes);
}

function rooms(sizes: readonly number[], piece = PIECE_BYTES): FrameBatch {
  const batch = new FrameBatch();
  for (const [index, size] of sizes.entries()) describe(batch, index, size, piece);
  return batch;
}

function framesToSend(frames: readonly Uint8Array[], piece = PIECE_BYTES): FrameBatch {
  const batch = new FrameBatch();
  for (const [index, frame] of frames.entries()) {
    place(index).set(frame.subarray(0, PLACE_BYTES));
    describe(batch, index, frame.length, piece);
  }
  return batch;
}

const received = (batch: FrameBatch, index: number): Uint8Array => place(index).slice(0, batch.lengths[index]);

test("frames that have come whole are received into their rooms, in order, and no more than there are", () => {
  const random = new Random(1);
  const frames = [frameOf(random, 14), frameOf(random, 1514), frameOf(random, 60)];
  for (const frame of frames) send(theirs, onWire(frame));
  const batch = rooms([2000, 2000, 2000, 2000], 700);
  expect(carrier.receive(batch)).toBe(3);
  expect(frames.map((_, index) => received(batch, index))).toEqual(frames);
  expect(carrier.receive(rooms([2000]))).toBe(0);
  expect(carrier.ended).toBe(false);
});

test("frames that come in parts, cut anywhere, into rooms that are new at each call", () => {
  const random = new Random(2);
  const frames = Array.from({ length: 300 }, () =>
    frameOf(random, 14 + random.below(random.pick([100, 3000, 65_522]))),
  );
  const wire = Buffer.concat(frames.map(onWire));
  const got: Uint8Array[] = [];
  for (let sent = 0; sent < wire.length || got.length < frames.length; ) {
    const part = wire.subarray(sent, sent + 1 + random.below(random.pick([3, 1000, 60_000])));
    if (part.length > 0) sent += send(theirs, part);
    const batch = rooms(
      Array.from({ length: 1 + random.below(PLACES) }, () => 65_535),
      random.pick([5000, 65_535]),
    );
    memory.u8.fill(0xee, 0, 64);
    const count = carrier.receive(batch);
    for (let i = 0; i < count; i++) got.push(received(batch, i));
  }
  expect(got.length).toBe(frames.length);
  for (const [index, frame] of frames.entries()) expect(Buffer.compare(got[index] ?? new Uint8Array(), frame)).toBe(0);
});

test("a frame that does not fit its room is dropped, and the next one is whole", () => {
  const random = new Random(3);
  const frames = [frameOf(random, 2000), frameOf(random, 100)];
  for (const frame of frames) send(theirs, onWire(frame));
  const batch = rooms([1999, 1999]);
  place(0).fill(0xee);
  expect(carrier.receive(batch)).toBe(2);
  expect([...batch.lengths.subarray(0, 2)]).toEqual([0, 100]);
  expect(place(0).every((byte) => byte === 0xee)).toBe(true);
  expect(received(batch, 1)).toEqual(frames[1] ?? new Uint8Array());
});

test.each([0, 1, 13, 65_536, 0x7fff_ffff, 0xffff_ffff])("a peer that announces %d bytes is given up", (length) => {
  const prefix = new Uint8Array(100);
  new DataView(prefix.buffer).setUint32(0, length);
  send(theirs, prefix);
  expect(carrier.receive(rooms([65_535]))).toBe(0);
  expect(carrier.ended).toBe(true);
  expect(receive(theirs)?.bytes.length).toBe(0);
  expect(carrier.receive(rooms([65_535]))).toBe(0);
});

test("the end of the peer, within a frame too, ends the carrier; what is sent then is dropped", () => {
  send(theirs, onWire(frameOf(new Random(4), 500)).subarray(0, 300));
  expect(carrier.receive(rooms([2000]))).toBe(0);
  expect(carrier.ended).toBe(false);
  libc.shutdown(theirs, 2);
  expect(carrier.receive(rooms([2000]))).toBe(0);
  expect(carrier.ended).toBe(true);
  const batch = framesToSend([frameOf(new Random(5), 100), frameOf(new Random(5), 100)]);
  expect(carrier.send(batch)).toBe(2);
  expect([...batch.lengths.subarray(0, 2)]).toEqual([0, 0]);
});

test("frames are sent with their lengths, those of impossible length are dropped", () => {
  const random = new Random(6);
  const sizes = [14, 13, 1514, 65_535, 65_536, 60];
  const frames = sizes.map((size) => frameOf(random, size));
  const batch = framesToSend(frames, 9000);
  expect(carrier.send(batch)).toBe(frames.length);
  expect([...batch.lengths.subarray(0, frames.length)]).toEqual([14, 0, 1514, 65_535, 0, 60]);
  const wire = Buffer.concat(frames.filter((_, index) => batch.lengths[index] !== 0).map(onWire));
  expect(Buffer.compare(takeAll(), wire)).toBe(0);
});

/** All that waits at the peer. */
function takeAll(): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let part = receive(theirs); part !== undefined; part = receive(theirs)) parts.push(part.bytes.slice());
  return Buffer.concat(parts);
}

test("a peer that reads slowly gets each frame once and whole; frames that do not go are given again", () => {
  const random = new Random(7);
  const frames = Array.from({ length: 400 }, () =>
    frameOf(random, 14 + random.below(random.pick([100, 3000, 65_522]))),
  );
  const parts: Uint8Array[] = [];
  let refusals = 0;
  for (let done = 0; done < frames.length; ) {
    const batch = framesToSend(frames.slice(done, done + 1 + random.below(PLACES)), random.pick([500, 70_000]));
    const sent = carrier.send(batch);
    done += sent;
    if (sent < batch.count) {
      refusals++;
      // The driver may do as it likes with its memory between two calls.
      memory.u8.fill(0);
      const part = receive(theirs);
      if (part !== undefined) parts.push(part.bytes.slice());
    }
  }
  parts.push(takeAll());
  expect(refusals).toBeGreaterThan(10);
  expect(Buffer.compare(Buffer.concat(parts), Buffer.concat(frames.map(onWire)))).toBe(0);
});
