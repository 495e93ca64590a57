import { afterEach, describe, expect, test } from "bun:test";
import { VSOCK_RECEIVE, VSOCK_TRANSMIT } from "../../../../../src/devices/virtio/vsock/device.ts";
import { Shutdown, VsockOp } from "../../../../../src/vsock/packet.ts";
import { openDescriptors, openedSince } from "../../../open-descriptors.ts";
import { Random } from "../../../random.ts";
import { type Peer, VsockRig } from "./rig.ts";

const KIB = 1024;
const DEVICE_BUFFER = 64 * KIB;

let rig: VsockRig;
afterEach(() => rig.close());

/** The byte at a place of a stream. */
const byteAt = (seed: number, at: number): number => ((at * 167 + (at >> 9) * 13 + seed * 59) >> 2) & 0xff;
const part = (seed: number, from: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => byteAt(seed, from + i));

function expectPart(seed: number, from: number, bytes: Uint8Array): void {
  if (Buffer.compare(bytes, part(seed, from, bytes.length)) !== 0)
    throw new Error(`stream ${seed} differs from ${from} on`);
}

/** A stream that both sides use as they should. */
class Stream {
  readonly seed: number;
  readonly peer: Peer;
  readonly guestPort: number;
  readonly bufAlloc: number;
  /** From the guest. */
  sent = 0;
  forwarded = 0;
  heard = 0;
  guestEnded = false;
  heardEnd = false;
  /** To the guest. */
  written = 0;
  received = 0;
  consumed = 0;
  hostEnded = false;
  receivedEnd = false;

  constructor(seed: number, peer: Peer, guestPort: number, bufAlloc: number) {
    this.seed = seed;
    this.peer = peer;
    this.guestPort = guestPort;
    this.bufAlloc = bufAlloc;
  }

  get fields() {
    return { guestPort: this.guestPort, hostPort: 52, bufAlloc: this.bufAlloc, fwdCnt: this.consumed };
  }
}

describe("streams", () => {
  test.each([1, 2, 3, 4, 5, 6])("of any interleaving arrive whole, seed %d", (seed) => {
    const random = new Random(seed);
    rig = new VsockRig(false);
    rig.start(random.below(2) === 0 ? 256 : 3, 44 + random.pick([1, 100, 4052]));
    const server = rig.server(52);
    const target = 30_000 + random.below(300_000);
    const streams = Array.from({ length: 1 + random.below(6) }, (_, i) => {
      const bufAlloc = random.pick([1, 1000, 65536, 0xffff_ffff]);
      rig.send({ op: VsockOp.REQUEST, guestPort: i, bufAlloc });
      return new Stream(i, rig.accepted(server), i, bufAlloc);
    });
    const take = (): void => {
      for (const packet of rig.received()) {
        const stream = streams[packet.guestPort];
        if (stream === undefined) throw new Error(`port ${packet.guestPort}`);
        stream.forwarded = packet.fwdCnt;
        if (packet.op === VsockOp.RW) {
          expectPart(stream.seed + 100, stream.received, packet.data);
          stream.received += packet.data.length;
          expect(stream.received - stream.consumed).toBeLessThanOrEqual(stream.bufAlloc);
        } else if (packet.op === VsockOp.SHUTDOWN) stream.receivedEnd = true;
        else if (packet.op === VsockOp.RST) throw new Error(`stream ${stream.seed} is reset`);
      }
    };
    const steps: readonly ((stream: Stream) => void)[] = [
      (stream) => {
        const credit = DEVICE_BUFFER - (stream.sent - stream.forwarded);
        const length = Math.min(
          credit,
          random.below(2) === 0 ? random.below(100) : random.below(65536),
          target - stream.sent,
        );
        const split = random.below(2) === 0 ? undefined : [1 + random.below(60), 61 + random.below(1000)];
        if (length > 0)
          rig.send({
            op: VsockOp.RW,
            ...stream.fields,
            data: part(stream.seed, stream.sent, length),
            ...(split === undefined ? {} : { split }),
          });
        stream.sent += Math.max(0, length);
      },
      (stream) => {
        const bytes = stream.peer.read();
        if (bytes === undefined) return;
        expectPart(stream.seed, stream.heard, bytes);
        stream.heard += bytes.length;
        if (bytes.length === 0) stream.heardEnd = true;
      },
      (stream) => {
        const length = Math.min(1 + random.below(40_000), target - stream.written);
        if (length > 0) stream.written += stream.peer.send(part(stream.seed + 100, stream.written, length));
      },
      take,
      (stream) => {
        stream.consumed += random.below(stream.received - stream.consumed + 1);
        if (random.below(3) === 0) stream.consumed = stream.received;
        rig.send({ op: VsockOp.CREDIT_UPDATE, ...stream.fields });
      },
      (stream) => {
        if (stream.sent < target || stream.guestEnded) return;
        stream.guestEnded = true;
        rig.send({ op: VsockOp.SHUTDOWN, ...stream.fields, flags: Shutdown.SEND });
      },
      (stream) => {
        if (stream.written < target || stream.hostEnded) return;
        stream.hostEnded = true;
        stream.peer.endSending();
      },
    ];
    // A buffer of one byte makes for many small packets: not all of the stream has to pass.
    const done = ({ bufAlloc, heardEnd, receivedEnd, received }: Stream): boolean =>
      heardEnd && (receivedEnd || (bufAlloc === 1 && received > 300));
    for (let i = 0; !streams.every(done); i++) {
      if (i > 300_000) throw new Error(JSON.stringify(streams.map(({ peer: _, ...rest }) => rest)));
      const stream = streams[random.below(streams.length)];
      if (stream !== undefined) steps[random.below(steps.length)]?.(stream);
    }
    for (const { sent, heard, written, received, receivedEnd } of streams) {
      expect(heard).toBe(sent);
      if (receivedEnd) expect(received).toBe(written);
    }
  });
});

describe("a hostile guest", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])("and hostile clients cost nobody else anything, seed %d", (seed) => {
    const random = new Random(seed * 7919);
    rig = new VsockRig();
    const good = rig.connectToHost(77, 7777);
    const server = rig.server(52);
    const peers: Peer[] = [];
    const before = openDescriptors();
    let said = 0;
    const field = (): number => random.pick([0, 1, 52, 77, 1000, 65536, 0xffff_ffff, random.below(2 ** 31)]);
    const port = (): number => random.pick([1, 2, 3, 0xffff_ffff]);
    const someone = (): Peer | undefined => peers[random.below(peers.length)];
    const steps: readonly (() => void)[] = [
      () => rig.send({ op: VsockOp.REQUEST, guestPort: port(), bufAlloc: field(), fwdCnt: field() }),
      () =>
        rig.send({
          op: random.below(9),
          guestPort: port(),
          hostPort: random.pick([52, 53, 0x4000_0000 + random.below(40)]),
          flags: random.below(8),
          bufAlloc: field(),
          fwdCnt: field(),
          data: new Uint8Array(random.below(3) === 0 ? random.below(70_000) : random.below(50)),
          ...(random.below(4) === 0 ? { len: field() } : {}),
          ...(random.below(20) === 0 ? { type: random.below(4) } : {}),
          ...(random.below(20) === 0 ? { dstCid: field(), srcCid: field() } : {}),
        }),
      () => rig.sendRaw(new Uint8Array(1 + random.below(100)), [random.below(50) + 1]),
      () => {
        const fd = rig.client(random.pick(["CONNECT 1\n", "CONNECT 2\nx", "CONN", "?\n", undefined]));
        peers.push(fd);
      },
      () => peers.push(rig.accepted(server)),
      () => someone()?.send(new Uint8Array(random.below(30_000))),
      () => someone()?.read(),
      () => someone()?.endSending(),
      () => someone()?.endReceiving(),
      () => {
        const index = random.below(peers.length + 1);
        peers[index]?.close();
        peers.splice(index, 1);
      },
      // The guest answers what it is asked for as it likes.
      () => {
        for (const { op, guestPort, hostPort } of rig.received())
          if (op === VsockOp.REQUEST)
            rig.send({ op: random.below(3) === 0 ? VsockOp.RST : VsockOp.RESPONSE, guestPort, hostPort });
      },
      () => {
        rig.transport.ring(random.pick([VSOCK_RECEIVE, VSOCK_TRANSMIT, 2]));
        rig.settle();
      },
    ];
    for (let i = 0; i < 4000; i++) {
      try {
        steps[random.below(steps.length)]?.();
      } catch (error) {
        // A peer may have been disconnected, and nobody may be there to be accepted.
        if (!(error instanceof Error) || !/EPIPE|ECONNRESET|no connection|EAGAIN/.test(error.message)) throw error;
      }
      if (i % 50 !== 0) continue;
      rig.received();
      rig.send({ op: VsockOp.RW, guestPort: 77, hostPort: 7777, data: part(1, said, 10) });
      expect(good.read()).toEqual(part(1, said, 10));
      said += 10;
    }
    for (const peer of peers.splice(0)) peer.close();
    for (let i = 0; i < 10; i++) rig.settle();
    // The guest forgets everything.
    for (let i = 0; i < 3; i++)
      for (const { op, guestPort, hostPort } of rig.received())
        if (op !== VsockOp.RST) rig.send({ op: VsockOp.RST, guestPort, hostPort });
    for (const guestPort of [1, 2, 3, 0xffff_ffff]) {
      rig.send({ op: VsockOp.RST, guestPort });
      rig.send({ op: VsockOp.RST, guestPort, hostPort: 53 });
      for (let i = 0; i < 500; i++) rig.send({ op: VsockOp.RST, guestPort, hostPort: 0x4000_0000 + i });
    }
    for (;;) {
      try {
        rig.accepted(server).close();
      } catch {
        break;
      }
    }
    rig.settle();
    expect(openedSince(before)).toEqual([]);
  });
});

test("a path that a port makes too long for a socket is a reset", () => {
  rig = new VsockRig(true, 105);
  rig.connectToHost(1, 1);
  rig.send({ op: VsockOp.REQUEST, hostPort: 10 });
  expect(rig.one().op).toBe(VsockOp.RST);
});
