import { expect, test } from "bun:test";
import { OutputRing, RING_BYTES } from "../../../../src/devices/chardev/output-ring.ts";
import { drainEventFd } from "../../../../src/host/eventfd.ts";
import { MemoryBlock } from "../../../../src/host/memory-block.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { ringWiring } from "./rig.ts";

const newRing = (): OutputRing => new OutputRing(ringWiring());

/** Everything that is in a ring, `step` bytes at a time. */
function drain(ring: OutputRing, step = 4096): Uint8Array {
  const pieces: Uint8Array[] = [];
  while (ring.refill()) {
    const count = Math.min(step, ring.pendingBytes);
    // The address has any alignment: a block starts before it.
    const skip = ring.pendingAddress % 8;
    const start = ring.pendingAddress - skip;
    pieces.push(new MemoryBlock(start, skip + count).u8.slice(skip));
    ring.consume(count);
  }
  return Buffer.concat(pieces);
}

test("bytes come out in order, whoever wrote them, in whatever pieces they are taken", () => {
  const ring = newRing();
  const block = mapAnonymous(4096);
  block.u8.fill(7);
  ring.write(1);
  ring.append(block.address, 3);
  ring.write(2);
  expect([...drain(ring, 2)]).toEqual([1, 7, 7, 7, 2]);
  expect(ring.refill()).toBeFalse();
});

test("the doorbell rings once for a reader that found nothing, and not for one that is busy", () => {
  const ring = newRing();
  ring.write(1);
  expect(drainEventFd(ring.doorbell)).toBeFalse();
  drain(ring);
  ring.write(2);
  ring.write(3);
  expect(drainEventFd(ring.doorbell)).toBeTrue();
  drain(ring);
  ring.write(4);
  expect(drainEventFd(ring.doorbell)).toBeTrue();
});

test("when nobody reads, the newest MiB stays and the loss is counted", () => {
  const ring = newRing();
  const written = 3 * RING_BYTES + 12_345;
  for (let i = 0; i < written; i++) ring.write((i * 31) & 0xff);
  expect(ring.lost).toBe(written - RING_BYTES);
  expect(ring.room).toBe(0);
  const read = drain(ring);
  expect(read.length).toBe(RING_BYTES);
  expect(read.every((byte, i) => byte === (((written - RING_BYTES + i) * 31) & 0xff))).toBeTrue();
  expect(ring.room).toBe(RING_BYTES);
});

test("blocks wrap around and push the oldest out", () => {
  const ring = newRing();
  const size = 400_000;
  const block = mapAnonymous(size);
  for (let round = 0; round < 8; round++) {
    block.u8.fill(round);
    ring.append(block.address, size);
  }
  const read = drain(ring);
  expect(read.length).toBe(RING_BYTES);
  expect(read.subarray(-2 * size).every((byte, i) => byte === (i < size ? 6 : 7))).toBeTrue();
  expect(read[0]).toBe(5);
});

test("a block as large as the ring replaces all", () => {
  const ring = newRing();
  ring.write(1);
  const block = mapAnonymous(RING_BYTES);
  block.u8.fill(9);
  ring.append(block.address, RING_BYTES);
  expect(ring.lost).toBe(1);
  expect(drain(ring).every((byte) => byte === 9)).toBeTrue();
});
