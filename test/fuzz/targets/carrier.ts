import { setIovec } from "../../../src/host/iovec.ts";
import { libc } from "../../../src/host/libc.ts";
import { makeNonBlocking, receive, send, socketPair } from "../../../src/host/unix-socket.ts";
import { FrameBatch } from "../../../src/net/frame-batch.ts";
import type { FrameCarrier } from "../../../src/net/frame-carrier.ts";
import { PREFIX_BYTES } from "../../../src/net/stream/protocol.ts";
import { StreamCarrier } from "../../../src/net/stream/stream-carrier.ts";
import { TapCarrier } from "../../../src/net/tap-carrier.ts";
import { blockAt } from "../../../src/threads/block-ref.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { FrameLog, MOST_FRAME_BYTES } from "../support/frame-log.ts";
import { mapGuarded } from "../support/guarded-memory.ts";

const MOST_ACTS = 24;
const PLACES = 6;
/** Holds the longest frame. */
const PLACE_BYTES = 0x1_1000;
const LENGTHS: readonly [number, ...number[]] = [13, 14, 15, 60, 1514, 4096, 9000, 65_535, MOST_FRAME_BYTES];
const PIECES: readonly [number, ...number[]] = [PLACE_BYTES, 1, 7, 256, 4096];

const places = Array.from({ length: PLACES }, () => blockAt({ address: mapGuarded(PLACE_BYTES), size: PLACE_BYTES }));

/** The guest's memory of a frame: it ends where a guard page begins. */
const memoryOf = (place: number, bytes: number): Uint8Array =>
  places[place]?.u8.subarray(PLACE_BYTES - bytes) ?? new Uint8Array(0);

/** Adds a frame of so many bytes to a batch, in pieces. @returns whether it fits there */
function describe(batch: FrameBatch, bytes: number, piece: number): boolean {
  const count = Math.ceil(bytes / piece);
  const place = places[batch.count];
  if (place === undefined || !batch.fits(count)) return false;
  for (let i = 0; i < count; i++) {
    const at = i * piece;
    setIovec(batch.table, batch.next + i, place.address + PLACE_BYTES - bytes + at, Math.min(piece, bytes - at));
  }
  batch.add(count, bytes);
  return true;
}

const lengthOf = (input: Input): number => (input.bool() ? input.pick(LENGTHS) : 1 + (input.u16() % MOST_FRAME_BYTES));

/** Fills a batch with rooms or frames. */
function fill(batch: FrameBatch, input: Input): void {
  batch.clear();
  const piece = input.pick(PIECES);
  for (let left = 1 + input.below(PLACES); left > 0; left--) if (!describe(batch, lengthOf(input), piece)) return;
}

export const target: FuzzTarget = {
  what: "network carriers: frames of a peer that says anything, on a stream and on what takes a TAP's place",
  maxBytes: 512,
  seeds: () =>
    [0, 1].map((kind) => Uint8Array.of(kind, 0, 1, 4, 0, 1, 2, 2, 1, 4, 1, 4, 3, 1, 1, 1, 4, 4, 0, 2, 0, 1, 3, 1, 7)),
  open: () => {
    const batch = new FrameBatch();
    const log = new FrameLog();
    return (input) => {
      const isStream = input.bool();
      const [ours, theirs] = socketPair(isStream ? "stream" : "messages");
      for (const fd of [ours, theirs]) makeNonBlocking(fd);
      log.begin(isStream);
      const carrier: FrameCarrier = isStream ? new StreamCarrier(ours) : new TapCarrier(ours);
      for (let acts = 0; acts < MOST_ACTS && !input.isEmpty; acts++) act(input, { carrier, batch, log, theirs });
      carrier.close();
      for (const fd of [ours, theirs]) libc.close(fd);
    };
  },
};

interface Scene {
  readonly carrier: FrameCarrier;
  readonly batch: FrameBatch;
  readonly log: FrameLog;
  readonly theirs: number;
}

function act(input: Input, { carrier, batch, log, theirs }: Scene): void {
  switch (input.below(6)) {
    case 0:
    case 1:
      peerSends(input, log, theirs);
      break;
    case 2:
    case 3: {
      fill(batch, input);
      const rooms = batch.lengths.slice(0, batch.count);
      const done = carrier.receive(batch);
      for (let i = 0; i < done; i++) {
        const room = rooms[i] ?? 0;
        log.checkReceived(memoryOf(i, room).subarray(0, batch.lengths[i]), room, carrier.ended);
      }
      if (done < batch.count) log.checkAllReceived(carrier.ended);
      break;
    }
    case 4: {
      fill(batch, input);
      for (let i = 0; i < batch.count; i++) log.write(memoryOf(i, batch.lengths[i] ?? 0));
      carrier.send(batch);
      break;
    }
    default: {
      if (log.isStream && input.below(8) === 1) libc.shutdown(theirs, input.below(3));
      const received = receive(theirs);
      if (received !== undefined) log.checkSent(received.bytes);
    }
  }
}

/** A frame, a part of one, or what is none. */
function peerSends(input: Input, log: FrameLog, theirs: number): void {
  const bytes = input.below(4) === 1 ? input.take(1 + input.below(64)) : log.frame(lengthOf(input), input.u8());
  if (log.isStream && bytes.length > PREFIX_BYTES && input.below(16) === 1)
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, input.edge(32));
  const part = input.below(4) === 1 ? bytes.subarray(0, 1 + input.u16()) : bytes;
  if (part.length === 0) return;
  try {
    log.peerSent(part.subarray(0, send(theirs, part)));
  } catch {
    // The carrier has given the connection up.
  }
}
