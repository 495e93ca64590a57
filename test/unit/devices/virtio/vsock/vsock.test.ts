import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Bar0 } from "../../../../../src/devices/virtio/transport/bar-layout.ts";
import { VSOCK_RECEIVE } from "../../../../../src/devices/virtio/vsock/device.ts";
import { MAX_CONNECTIONS } from "../../../../../src/vsock/limits.ts";
import { Shutdown, VsockOp } from "../../../../../src/vsock/packet.ts";
import { openDescriptors, openedSince } from "../../../open-descriptors.ts";
import { GUEST_CID, type Peer, VsockRig } from "./rig.ts";

const { REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST } = VsockOp;
const KIB = 1024;
const ANSWER_MS = 2000;

let rig: VsockRig;
beforeEach(() => {
  rig = new VsockRig();
});
afterEach(() => rig.close());

const bytes = (length: number, seed = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => ((i + seed) * 31 + (i >> 8)) & 0xff);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);
const encode = (data: string): Uint8Array => new TextEncoder().encode(data);

/** Everything a peer can read now. */
function drain(peer: Peer): Uint8Array {
  const parts: Uint8Array[] = [];
  for (;;) {
    rig.settle();
    const part = peer.read();
    if (part === undefined || part.length === 0) return Buffer.concat(parts);
    parts.push(part);
  }
}

test("the configuration holds the guest's context id; of features there is IN_ORDER", () => {
  const { transport } = rig;
  expect([transport.read(Bar0.DEVICE), transport.read(Bar0.DEVICE + 4)]).toEqual([GUEST_CID, 0]);
  expect(transport.offered()).toEqual([0, 0b1001]);
});

describe("a client of the host", () => {
  test("is connected to the guest, and both send and end", () => {
    const peer = rig.client("CONNECT 1234\n");
    const request = rig.one();
    expect(request).toMatchObject({ op: REQUEST, guestPort: 1234, hostPort: 0x4000_0000, bufAlloc: 64 * KIB, len: 0 });
    expect(peer.read()).toBeUndefined();
    const ports = { guestPort: 1234, hostPort: request.hostPort };
    rig.send({ op: RESPONSE, ...ports });
    expect(peer.text()).toBe("OK 1073741824\n");
    peer.send("to the guest");
    const data = rig.one();
    expect(data).toMatchObject({ op: RW, ...ports, len: 12 });
    expect(text(data.data)).toBe("to the guest");
    expect(rig.send({ op: RW, ...ports, data: encode("to the host") })).toBe(0);
    expect(peer.text()).toBe("to the host");
    peer.close();
    expect(rig.one()).toMatchObject({ op: SHUTDOWN, ...ports, flags: Shutdown.BOTH });
    rig.send({ op: RST, ...ports });
    expect(rig.received()).toEqual([]);
    // The pair is free again.
    rig.send({ op: RW, ...ports, data: encode("x") });
    expect(rig.one()).toMatchObject({ op: RST, ...ports });
  });

  test.each(["CONNECT 5\n", "connect 5\n", " \tCoNnEcT   5 \r\n", "CONNECT 0000000000000000000005\n"])(
    "may write %j",
    (line) => {
      rig.client(line);
      expect(rig.one()).toMatchObject({ op: REQUEST, guestPort: 5 });
    },
  );

  test.each([
    "\n",
    "CONNECT\n",
    "CONNECT x\n",
    "CONNECT -1\n",
    "CONNECT 4294967296\n",
    "CONNECT 5 6\n",
    "CONNECT5\n",
    "GET / HTTP/1.1\n",
    "\0\xff\n",
    `CONNECT ${"0".repeat(24)}\n`,
    "x".repeat(1000),
  ])("is turned away after %j", (line) => {
    const peer = rig.client(line);
    expect(peer.ended).toBeTrue();
    expect(rig.received()).toEqual([]);
  });

  test("may write its line in pieces, and data behind it", () => {
    const peer = rig.client("CONN");
    for (const piece of ["E", "CT 7", "7", "\nearly data"]) {
      peer.send(piece);
      rig.settle();
    }
    const { hostPort } = rig.one();
    rig.send({ op: RESPONSE, guestPort: 77, hostPort });
    expect(text(rig.one().data)).toBe("early data");
  });

  test("may end before its line does, or before the guest has answered", () => {
    const early = rig.client("CONNECT 7");
    early.endSending();
    rig.settle();
    expect(early.ended).toBeTrue();
    const peer = rig.client("CONNECT 7\nall of it");
    peer.close();
    const { hostPort } = rig.one();
    rig.send({ op: RESPONSE, guestPort: 7, hostPort });
    const packets = rig.received();
    expect(packets.map(({ op }) => op)).toEqual([RW, SHUTDOWN]);
    expect(text(packets[0]?.data ?? bytes(0))).toBe("all of it");
    expect(packets[1]?.flags).toBe(Shutdown.BOTH);
  });

  test("is disconnected when the guest refuses", () => {
    const peer = rig.client("CONNECT 9\n");
    const { hostPort } = rig.one();
    rig.send({ op: RST, guestPort: 9, hostPort });
    expect(peer.ended).toBeTrue();
  });

  test("gets a port that no connection has", () => {
    const first = rig.connectToGuest(9).hostPort;
    const second = rig.connectToGuest(9).hostPort;
    expect([first, second]).toEqual([0x4000_0000, 0x4000_0001]);
  });

  test("waits until the guest has a driver", () => {
    const later = new VsockRig(false);
    const peer = later.client("CONNECT 3\n");
    later.settle();
    expect(peer.read()).toBeUndefined();
    later.start();
    expect(later.one()).toMatchObject({ op: REQUEST, guestPort: 3 });
    later.close();
  });
});

describe("a server of the host", () => {
  test("is connected to the guest", () => {
    const peer = rig.connectToHost(1000, 52);
    rig.send({ op: RW, data: encode("hello") });
    expect(peer.text()).toBe("hello");
    peer.send("hi");
    expect(text(rig.one().data)).toBe("hi");
  });

  test("that is not there is a reset", () => {
    rig.send({ op: REQUEST, hostPort: 99 });
    expect(rig.one()).toMatchObject({ op: RST, guestPort: 1000, hostPort: 99, type: 1 });
  });

  test("with too many clients waiting is tried again", () => {
    const server = rig.server(52, 0);
    rig.send({ op: REQUEST, guestPort: 1 });
    rig.send({ op: REQUEST, guestPort: 2 });
    expect(rig.received().map(({ guestPort, op }) => [guestPort, op])).toEqual([[1, RESPONSE]]);
    rig.accepted(server);
    for (let i = 0; i < 50 && rig.transmitRing.taken >= 0; i++) if (rig.wait(100)) break;
    expect(rig.received().map(({ guestPort, op }) => [guestPort, op])).toEqual([[2, RESPONSE]]);
  });
});

describe("packets of no connection", () => {
  test.each([RESPONSE, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST, 0, 8, 0xffff])("operation %d: a reset", (op) => {
    rig.send({ op, data: bytes(10) });
    expect(rig.one()).toMatchObject({ op: RST, guestPort: 1000, hostPort: 52 });
  });

  test("a reset is not answered; nor is what is not for the host or not from the guest", () => {
    rig.send({ op: RST });
    rig.send({ op: RW, dstCid: 1 });
    rig.send({ op: RW, dstCid: 0 });
    rig.send({ op: RW, srcCid: 4 });
    expect(rig.received()).toEqual([]);
  });

  test("another type than streams: a reset of that type, whatever the ports", () => {
    const peer = rig.connectToHost(1000, 52);
    rig.send({ op: RW, type: 2, data: encode("no") });
    expect(rig.one()).toMatchObject({ op: RST, type: 2 });
    rig.send({ op: REQUEST, type: 7, guestPort: 5 });
    expect(rig.one()).toMatchObject({ op: RST, type: 7, guestPort: 5 });
    rig.send({ op: RW, data: encode("yes") });
    expect(peer.text()).toBe("yes");
  });

  test("chains that are no packet come back empty", () => {
    for (const length of [1, 43]) expect(rig.sendRaw(bytes(length))).toBe(0);
    expect(rig.received()).toEqual([]);
  });

  test("more than fit in the queue of answers: some are dropped, nothing is lost that matters", () => {
    rig.received();
    const peer = rig.connectToHost(1, 1);
    const before = rig.received().length;
    expect(before).toBe(0);
    for (let i = 0; i < 1000; i++) rig.send({ op: RW, guestPort: 5000 + i });
    peer.send("still here");
    const packets = rig.received();
    expect(packets.filter(({ op }) => op === RST).length).toBe(512);
    expect(text(packets.find(({ op }) => op === RW)?.data ?? bytes(0))).toBe("still here");
  });
});

describe("flow control", () => {
  test("the guest's data waits in the device when the host is slow, as much as is advertised; one byte more is a reset", () => {
    const peer = rig.connectToHost(1000, 52);
    let sent = 0;
    const parts: Uint8Array[] = [];
    let credit = 64 * KIB;
    let forwarded = 0;
    let room = 64 * KIB;
    const learn = (): void => {
      for (const packet of rig.received()) {
        forwarded = packet.fwdCnt;
        room = packet.bufAlloc;
      }
      credit = Math.min(64 * KIB, room - (sent - forwarded));
    };
    // Until neither the socket nor the device takes more.
    for (;;) {
      learn();
      if (credit === 0) break;
      const part = bytes(Math.min(credit, 20_000), sent);
      rig.send({ op: RW, data: part });
      parts.push(part);
      sent += part.length;
    }
    expect(sent).toBeGreaterThan(128 * KIB);
    const other = rig.connectToHost(2000, 53);
    rig.send({ op: RW, guestPort: 2000, hostPort: 53, data: encode("others go on") });
    expect(other.text()).toBe("others go on");
    expect(Buffer.compare(drain(peer), Buffer.concat(parts))).toBe(0);
    learn();
    expect(forwarded).toBe(sent);
    // The same again, and then too much.
    for (;;) {
      learn();
      if (credit === 0) break;
      rig.send({ op: RW, data: bytes(credit) });
      sent += credit;
    }
    rig.send({ op: RW, data: bytes(1) });
    expect(rig.one()).toMatchObject({ op: RST });
  });

  test("a stream that flows gets more room for as long as it lasts, as many as 64 at a time", () => {
    const open = (guestPort: number): number => {
      const peer = rig.connectToHost(guestPort, 52);
      let room = 0;
      for (let i = 0; i < 6; i++) {
        rig.send({ op: RW, guestPort, data: bytes(60 * KIB) });
        drain(peer);
        for (const packet of rig.received()) room = packet.bufAlloc;
      }
      return room;
    };
    for (let i = 0; i < 64; i++) expect(open(i)).toBe(256 * KIB);
    expect(open(64)).toBe(64 * KIB);
    rig.send({ op: RST, guestPort: 3 });
    expect(open(65)).toBe(256 * KIB);
  });

  test("the host's data waits in the socket when the guest has no room, and the guest is asked for room once", () => {
    const server = rig.server(52);
    rig.send({ op: REQUEST, bufAlloc: 10 });
    const peer = rig.accepted(server);
    expect(rig.one().op).toBe(RESPONSE);
    peer.send("0123456789abcdef");
    const [data, ask, ...rest] = rig.received();
    expect(text(data?.data ?? bytes(0))).toBe("0123456789");
    expect(ask?.op).toBe(CREDIT_REQUEST);
    expect(rest).toEqual([]);
    peer.send("more");
    expect(rig.received()).toEqual([]);
    rig.send({ op: CREDIT_UPDATE, bufAlloc: 10, fwdCnt: 3 });
    const after = rig.received();
    expect(text(after[0]?.data ?? bytes(0))).toBe("abc");
    rig.send({ op: CREDIT_UPDATE, bufAlloc: 100, fwdCnt: 13 });
    expect(text(rig.received()[0]?.data ?? bytes(0))).toBe("defmore");
  });

  test.each([
    ["a count of more than was sent", { bufAlloc: 1000, fwdCnt: 5 }],
    ["a buffer that shrank below what is in it", { bufAlloc: 1, fwdCnt: 0 }],
    ["no buffer", { bufAlloc: 0, fwdCnt: 0 }],
  ])("%s is no room", (_, credit) => {
    const peer = rig.connectToHost(1000, 52);
    peer.send("ab");
    expect(rig.one().op).toBe(RW);
    rig.send({ op: CREDIT_UPDATE, ...credit });
    peer.send("cd");
    expect(rig.received().map(({ op }) => op)).toEqual([CREDIT_REQUEST]);
  });

  test("counts go round at 2^32", () => {
    const peer = rig.connectToHost(1000, 52);
    // Said to be far behind and then caught up: only differences count.
    rig.send({ op: CREDIT_UPDATE, bufAlloc: 0xffff_ffff, fwdCnt: 0xffff_fff0 });
    peer.send("0123456789");
    expect(rig.one().len).toBe(10);
    rig.send({ op: CREDIT_UPDATE, bufAlloc: 0xffff_ffff, fwdCnt: 10 });
    peer.send("0123456789");
    expect(rig.one().len).toBe(10);
  });

  test("what the guest asks for it is told", () => {
    rig.connectToHost(1000, 52);
    rig.send({ op: RW, data: bytes(100) });
    expect(rig.received()).toEqual([]);
    rig.send({ op: CREDIT_REQUEST });
    expect(rig.one()).toMatchObject({ op: CREDIT_UPDATE, fwdCnt: 100, bufAlloc: 64 * KIB });
  });

  test.each([
    ["longer than its chain", { len: 1000, data: bytes(10) }],
    ["longer than a packet", { len: 64 * KIB + 1, data: bytes(64 * KIB + 1) }],
    ["as long as can be", { len: 0xffff_ffff, data: bytes(10) }],
  ])("data %s is a reset", (_, packet) => {
    const peer = rig.connectToHost(1000, 52);
    rig.send({ op: RW, ...packet });
    expect(rig.one().op).toBe(RST);
    expect(peer.ended).toBeTrue();
  });

  test("data in any number of descriptors, and what its header does not count", () => {
    const peer = rig.connectToHost(1000, 52);
    const data = bytes(5000);
    rig.send({ op: RW, data, split: [1, 7, 44, 45, 2000, 4096] });
    rig.send({ op: RW, data, split: [] });
    rig.send({ op: RW, data, split: [20, 60] });
    rig.send({ op: RW, data, len: 100 });
    rig.send({ op: RW, data: bytes(0) });
    expect(Buffer.compare(drain(peer), Buffer.concat([data, data, data, data.subarray(0, 100)]))).toBe(0);
  });
});

describe("the driver's receive buffers", () => {
  test("none for a while: nothing is lost, and all connections have their turn", () => {
    rig.received(false);
    const few = new VsockRig(false);
    few.start(0);
    const server = few.server(52);
    const peers = Array.from({ length: 20 }, (_, i) => {
      few.send({ op: REQUEST, guestPort: i });
      return few.accepted(server);
    });
    for (const peer of peers) for (let i = 0; i < 10; i++) peer.send(bytes(KIB));
    few.send({ op: RW, guestPort: 999 });
    few.settle();
    const seen: number[] = [];
    const totals = new Map<number, number>();
    for (let i = 0; i < 120; i++) {
      few.offer({ address: 0x80_0000, length: 4096, writable: true });
      few.transport.ring(VSOCK_RECEIVE);
      few.settle();
      for (const { op, guestPort, len } of few.received(false)) {
        if (op === RW && totals.size < 20) seen.push(guestPort);
        if (op === RW) totals.set(guestPort, (totals.get(guestPort) ?? 0) + len);
      }
    }
    expect([...totals.values()]).toEqual(Array(20).fill(10 * KIB));
    // Each had a packet before any had three.
    expect(seen.length).toBeLessThanOrEqual(40);
    few.close();
  });

  test("of any shape are filled; those that hold no packet come back empty, in order", () => {
    const odd = new VsockRig(false);
    odd.start(0);
    const server = odd.server(52);
    odd.offer({ address: 0x80_0000, length: 44, writable: true });
    odd.offer({ address: 0x81_0000, length: 43, writable: true });
    odd.offer({ address: 0x82_0000, length: 100 });
    odd.offer({ address: 0x83_0000, length: 44, writable: true }, { address: 0x83_1000, length: 6, writable: true });
    odd.offer({ address: 0x84_0000, length: 44, writable: true });
    odd.offer({ address: 0x85_0000, length: 0x1_0000, writable: true });
    odd.transport.ring(VSOCK_RECEIVE);
    odd.send({ op: REQUEST });
    const peer = odd.accepted(server);
    peer.send("0123456789");
    odd.settle();
    expect(odd.receiveRing.take()).toEqual([
      { head: 0, written: 44 },
      { head: 1, written: 0 },
      { head: 2, written: 0 },
      { head: 3, written: 50 },
      { head: 5, written: 0 },
      { head: 6, written: 48 },
    ]);
    odd.close();
  });
});

describe("ends", () => {
  test("the host ends its sending: the guest goes on sending", () => {
    const peer = rig.connectToHost(1000, 52);
    peer.send("last words");
    peer.endSending();
    const [data, end, ...rest] = rig.received();
    expect([data?.op, end?.op, end?.flags, rest.length]).toEqual([RW, SHUTDOWN, Shutdown.SEND, 0]);
    rig.send({ op: RW, data: encode("still heard") });
    expect(peer.text()).toBe("still heard");
    rig.send({ op: SHUTDOWN, flags: Shutdown.BOTH });
    expect(rig.one().op).toBe(RST);
    expect(peer.ended).toBeTrue();
  });

  test("the guest ends its sending: the host goes on sending", () => {
    const peer = rig.connectToHost(1000, 52);
    rig.send({ op: RW, data: encode("last words") });
    rig.send({ op: SHUTDOWN, flags: Shutdown.SEND });
    expect(peer.text()).toBe("last words");
    expect(peer.ended).toBeTrue();
    peer.send("still heard");
    expect(text(rig.one().data)).toBe("still heard");
    peer.close();
    expect(rig.one()).toMatchObject({ op: SHUTDOWN, flags: Shutdown.BOTH });
  });

  test("the guest ends its receiving: the host cannot send", () => {
    const peer = rig.connectToHost(1000, 52);
    rig.send({ op: SHUTDOWN, flags: Shutdown.RECEIVE });
    expect(() => peer.send("x")).toThrow("EPIPE");
    rig.send({ op: RW, data: encode("yes") });
    expect(peer.text()).toBe("yes");
    rig.send({ op: SHUTDOWN, flags: Shutdown.SEND });
    expect(rig.one().op).toBe(RST);
  });

  test("the host ends its receiving: the guest is told, and what it sends is gone", () => {
    const peer = rig.connectToHost(1000, 52);
    peer.endReceiving();
    rig.send({ op: RW, data: bytes(60 * KIB) });
    expect(rig.received().map(({ op, flags }) => [op, flags])).toEqual([
      [CREDIT_UPDATE, 0],
      [SHUTDOWN, Shutdown.RECEIVE],
    ]);
    rig.send({ op: RW, data: bytes(60 * KIB) });
    expect(rig.one()).toMatchObject({ op: CREDIT_UPDATE, fwdCnt: 120 * KIB });
    peer.send("and on");
    expect(text(rig.one().data)).toBe("and on");
  });

  test("data after the end, an end before the beginning: a reset", () => {
    const peer = rig.connectToHost(1000, 52);
    rig.send({ op: SHUTDOWN, flags: Shutdown.SEND });
    rig.send({ op: RW, data: bytes(1) });
    expect(rig.one().op).toBe(RST);
    expect(peer.ended).toBeTrue();
    const client = rig.client("CONNECT 8\n");
    const { hostPort } = rig.one();
    rig.send({ op: RW, guestPort: 8, hostPort, data: bytes(1) });
    expect(rig.one().op).toBe(RST);
    expect(client.ended).toBeTrue();
  });

  test("what the guest sent before it closed reaches a slow host, though the guest is told the end after two seconds", () => {
    const peer = rig.connectToHost(1000, 52);
    let sent = 0;
    let forwarded = 0;
    const parts: Uint8Array[] = [];
    for (;;) {
      for (const packet of rig.received()) forwarded = packet.fwdCnt;
      const credit = 64 * KIB - (sent - forwarded);
      if (credit === 0) break;
      parts.push(bytes(credit, sent));
      rig.send({ op: RW, data: bytes(credit, sent) });
      sent += credit;
    }
    rig.send({ op: SHUTDOWN, flags: Shutdown.BOTH });
    expect(rig.received()).toEqual([]);
    const start = performance.now();
    while (rig.wait(10 * ANSWER_MS) && performance.now() - start < ANSWER_MS - 100);
    expect(performance.now() - start).toBeGreaterThan(ANSWER_MS - 100);
    expect(rig.one().op).toBe(RST);
    rig.send({ op: RW, data: bytes(1) });
    expect(rig.one().op).toBe(RST);
    expect(Buffer.compare(drain(peer), Buffer.concat(parts))).toBe(0);
    expect(peer.ended).toBeTrue();
  });

  test("who does not answer within two seconds is reset", () => {
    const waiting = rig.client("CONNECT 1\n");
    const first = rig.one();
    const gone = rig.connectToHost(1000, 52);
    gone.close();
    expect(rig.one().op).toBe(SHUTDOWN);
    const start = performance.now();
    const packets = [];
    while (packets.length < 2 && performance.now() - start < 10 * ANSWER_MS) {
      rig.wait(100);
      packets.push(...rig.received());
    }
    expect(performance.now() - start).toBeGreaterThan(ANSWER_MS - 100);
    expect(packets.map(({ op, guestPort }) => [op, guestPort]).sort()).toEqual([
      [RST, 1],
      [RST, 1000],
    ]);
    expect(packets.find(({ guestPort }) => guestPort === 1)?.hostPort).toBe(first.hostPort);
    expect(waiting.ended).toBeTrue();
  });

  test("a guest that resets with data in the device: the host reads the end", () => {
    const peer = rig.connectToHost(1000, 52);
    rig.send({ op: RW, data: bytes(100) });
    rig.send({ op: RST });
    expect(drain(peer).length).toBe(100);
    expect(peer.ended).toBeTrue();
  });
});

describe("limits", () => {
  test("1023 connections: the guest's next is reset, the host's next turned away, and neither hurts the rest", () => {
    const before = openDescriptors();
    const server = rig.server(52, 2000);
    const peers: Peer[] = [];
    for (let i = 0; i < MAX_CONNECTIONS; i++) {
      rig.send({ op: REQUEST, guestPort: i });
      expect(rig.one().op).toBe(RESPONSE);
      peers.push(rig.accepted(server));
    }
    rig.send({ op: REQUEST, guestPort: 5000 });
    expect(rig.one()).toMatchObject({ op: RST, guestPort: 5000 });
    expect(rig.client().ended).toBeTrue();
    for (const [i, peer] of peers.entries()) {
      rig.send({ op: RW, guestPort: i, data: encode(`${i}`) });
      expect(peer.text()).toBe(`${i}`);
    }
    for (const peer of peers) peer.close();
    expect(rig.received().map(({ op }) => op)).toEqual(Array(MAX_CONNECTIONS).fill(SHUTDOWN));
    for (let i = 0; i < MAX_CONNECTIONS; i++) rig.send({ op: RST, guestPort: i });
    // The server's socket and the client that was turned away.
    expect(openedSince(before)).toHaveLength(2);
    rig.send({ op: REQUEST, guestPort: 5000 });
    expect(rig.one()).toMatchObject({ op: RESPONSE, guestPort: 5000 });
  });

  test("clients that say nothing make room for those that do", () => {
    const silent = Array.from({ length: MAX_CONNECTIONS }, () => rig.client());
    const server = rig.server(52);
    rig.send({ op: REQUEST });
    rig.accepted(server);
    expect(rig.one().op).toBe(RESPONSE);
    rig.client("CONNECT 4\n");
    expect(rig.one()).toMatchObject({ op: REQUEST, guestPort: 4 });
    expect(silent.slice(0, 3).map((peer) => peer.ended)).toEqual([true, true, false]);
  });

  test("thousands of connections, one after the other, leave nothing behind", () => {
    const server = rig.server(52);
    const before = openDescriptors();
    for (let i = 0; i < 3000; i++) {
      const ports = { guestPort: 1000 + (i % 7), hostPort: 52 };
      rig.send({ op: REQUEST, ...ports });
      const peer = rig.accepted(server);
      expect(rig.one().op).toBe(RESPONSE);
      if (i % 3 === 0) peer.close();
      rig.send({ op: i % 2 === 0 ? RST : SHUTDOWN, flags: Shutdown.BOTH, ...ports });
      peer.close();
      rig.received();
      rig.send({ op: RST, ...ports });
    }
    expect(openedSince(before)).toEqual([]);
  });
});

describe("resets and moves", () => {
  test("a driver that resets the device finds its connections again", () => {
    const peer = rig.connectToHost(1000, 52);
    rig.reset();
    peer.send("kept");
    rig.start();
    expect(text(rig.one().data)).toBe("kept");
    rig.send({ op: RW, data: encode("too") });
    expect(peer.text()).toBe("too");
  });

  test("on another host each connection that was open is reset", () => {
    const { hostPort } = rig.connectToGuest(7);
    rig.connectToHost(1000, 52);
    rig.connectToHost(1001, 53);
    rig.send({ op: RST, guestPort: 1001, hostPort: 53 });
    const saved = rig.transport.front.save();
    rig.restart();
    rig.transport.front.restore(saved);
    rig.restart();
    rig.settle();
    const packets = rig.received().map(({ op, guestPort, hostPort: port }) => [op, guestPort, port]);
    expect(packets).toEqual([
      [RST, 7, hostPort],
      [RST, 1000, 52],
    ]);
    rig.connectToHost(1000, 52);
  });
});
