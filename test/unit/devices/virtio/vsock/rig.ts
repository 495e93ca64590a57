import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Watch } from "../../../../../src/devices/io-loop.ts";
import { VsockBackEnd } from "../../../../../src/devices/virtio/vsock/back-end.ts";
import { VSOCK_RECEIVE, VSOCK_TRANSMIT, vsockDevice } from "../../../../../src/devices/virtio/vsock/device.ts";
import { Epoll } from "../../../../../src/host/epoll.ts";
import { libc } from "../../../../../src/host/libc.ts";
import { accept, connectTo, listenAt, receive, send } from "../../../../../src/host/unix-socket.ts";
import type { GuestMemory } from "../../../../../src/memory/guest-memory.ts";
import { HOST_CID, VsockOp, VsockType } from "../../../../../src/vsock/packet.ts";
import type { Buffer, RingDriver } from "../ring-driver.ts";
import { testMemory } from "../test-memory.ts";
import { TransportRig } from "../transport-rig.ts";

export const GUEST_CID = 3;
/** What the guest has room for in each stream unless it says otherwise. */
export const GUEST_BUF_ALLOC = 262_144;
const HEADER_BYTES = 44;
const RECEIVE_BUFFER_BYTES = 4096;
const TRANSMIT_AT = 0x40_0000;
const RECEIVE_AT = 0x80_0000;
/** Room for the payload of each transmit descriptor. */
const TRANSMIT_STRIDE = 0x2_0000;
const TRANSMIT_SLOTS = 16;

/** A packet as the guest sends or sees it. */
export interface Packet {
  readonly op: number;
  readonly guestPort: number;
  readonly hostPort: number;
  readonly len: number;
  readonly flags: number;
  readonly bufAlloc: number;
  readonly fwdCnt: number;
  readonly type: number;
  readonly data: Uint8Array;
}

/** What a test says of a packet; the rest is as it should be. */
export interface Sent extends Partial<Omit<Packet, "data">> {
  readonly op: number;
  readonly srcCid?: number;
  readonly dstCid?: number;
  readonly data?: Uint8Array;
  /** Byte borders of the chain's descriptors, header included; header and payload by default. */
  readonly split?: readonly number[];
}

/** A socket device with its back end in the test's own thread, a driver, and a folder for the host's sockets. */
export class VsockRig {
  readonly memory: GuestMemory = testMemory({ gpa: 0x10_0000, size: 0xff0_0000 });
  readonly folder = mkdtempSync(join(tmpdir(), "vsock-"));
  readonly path: string;
  readonly transport: TransportRig;
  backEnd: VsockBackEnd;
  readonly #listenFd: number;
  #epoll = new Epoll();
  #handlers: ((events: number) => void)[] = [];
  #receive: RingDriver | undefined;
  #transmit: RingDriver | undefined;
  #transmitSlot = 0;
  readonly #receiveBuffers = new Map<number, number>();
  readonly #fds: number[] = [];

  /** @param pathBytes how long the path of the host's socket is, at least that of the folder */
  constructor(start = true, pathBytes = 0) {
    this.path = join(this.folder, "v".repeat(Math.max(1, pathBytes - this.folder.length - 1)));
    this.transport = new TransportRig(vsockDevice(GUEST_CID), this.memory);
    this.#listenFd = listenAt(this.path, 1024);
    this.backEnd = this.#newBackEnd();
    if (start) this.start();
  }

  /** The driver takes the device, with as many receive buffers. */
  start(buffers = 256, bytes = RECEIVE_BUFFER_BYTES): void {
    const [receiveRing, transmitRing] = this.transport.start();
    this.#receive = receiveRing;
    this.#transmit = transmitRing;
    this.#receiveBuffers.clear();
    this.settle();
    for (let i = 0; i < buffers; i++) this.offer({ address: RECEIVE_AT + i * 0x1_0000, length: bytes, writable: true });
    this.transport.ring(VSOCK_RECEIVE);
    this.settle();
  }

  /** The driver resets the device. */
  reset(): void {
    // Without a thread of its own the back end lets go before the front looks.
    this.transport.write(0x14, 0, 1);
    this.settle();
    if (this.transport.status !== 0) throw new Error("the device does not finish its reset");
  }

  get receiveRing(): RingDriver {
    if (this.#receive === undefined) throw new Error("no driver");
    return this.#receive;
  }

  get transmitRing(): RingDriver {
    if (this.#transmit === undefined) throw new Error("no driver");
    return this.#transmit;
  }

  /** Offers a receive buffer, without notifying. */
  offer(...buffers: Buffer[]): void {
    const head = this.receiveRing.add(...buffers);
    if (head === undefined) throw new Error("the receive ring is full");
    this.#receiveBuffers.set(head, buffers[0]?.address ?? 0);
  }

  /** Serves the back end until nothing happens any more. */
  settle(): void {
    if (this.transport.woken()) this.backEnd.wake();
    while (this.#epoll.wait(0, (token, events) => this.#handlers[token]?.(events)) > 0);
  }

  /** As `settle`, waiting for something to happen first. @returns whether something did */
  wait(ms: number): boolean {
    const happened = this.#epoll.wait(ms, (token, events) => this.#handlers[token]?.(events)) > 0;
    this.settle();
    return happened;
  }

  /** Sends a packet from the guest. @returns the length that its chain comes back with */
  send(packet: Sent): number {
    const { data = new Uint8Array(0), split = [HEADER_BYTES] } = packet;
    const bytes = new Uint8Array(HEADER_BYTES + data.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, packet.srcCid ?? GUEST_CID, true);
    view.setUint32(8, packet.dstCid ?? HOST_CID, true);
    view.setUint32(16, packet.guestPort ?? 1000, true);
    view.setUint32(20, packet.hostPort ?? 52, true);
    view.setUint32(24, packet.len ?? data.length, true);
    view.setUint16(28, packet.type ?? VsockType.STREAM, true);
    view.setUint16(30, packet.op, true);
    view.setUint32(32, packet.flags ?? 0, true);
    view.setUint32(36, packet.bufAlloc ?? GUEST_BUF_ALLOC, true);
    view.setUint32(40, packet.fwdCnt ?? 0, true);
    bytes.set(data, HEADER_BYTES);
    return this.sendRaw(bytes, split);
  }

  /** Sends a chain of these bytes. @param split borders of its descriptors */
  sendRaw(bytes: Uint8Array, split: readonly number[] = []): number {
    const at = TRANSMIT_AT + (this.#transmitSlot++ % TRANSMIT_SLOTS) * TRANSMIT_STRIDE;
    this.memory.write(at, bytes);
    const borders = [0, ...split.filter((border) => border < bytes.length), bytes.length];
    const buffers = borders
      .slice(1)
      .map((end, i) => ({ address: at + (borders[i] ?? 0), length: end - (borders[i] ?? 0) }));
    this.transmitRing.add(...buffers);
    this.transport.ring(VSOCK_TRANSMIT);
    this.settle();
    const used = this.transmitRing.take();
    if (used.length !== 1) throw new Error(`${used.length} transmit chains came back`);
    return used[0]?.written ?? -1;
  }

  /** What the guest has received since the last call. @param again offer the buffers again */
  received(again = true): Packet[] {
    this.settle();
    const packets: Packet[] = [];
    for (;;) {
      const used = this.receiveRing.take();
      if (used.length === 0) return packets;
      for (const { head, written } of used) {
        const address = this.#receiveBuffers.get(head) ?? 0;
        this.#receiveBuffers.delete(head);
        packets.push(this.#parse(address, written));
        if (again) this.offer({ address, length: RECEIVE_BUFFER_BYTES, writable: true });
      }
      if (again) {
        this.transport.ring(VSOCK_RECEIVE);
        this.settle();
      }
    }
  }

  /** The one packet that the guest has received. */
  one(): Packet {
    const packets = this.received();
    const [packet] = packets;
    if (packet === undefined || packets.length !== 1) throw new Error(`${packets.length} packets`);
    return packet;
  }

  /** A client of the host, connected. */
  client(line?: string): Peer {
    const peer = this.peer(connectTo(this.path));
    this.settle();
    if (line !== undefined) {
      peer.send(line);
      this.settle();
    }
    return peer;
  }

  /** A server of the host. @returns where its clients are accepted */
  server(port: number, backlog = 128): number {
    const fd = listenAt(`${this.path}_${port}`, backlog);
    this.#fds.push(fd);
    return fd;
  }

  /** The server's end of a connection. */
  accepted(server: number): Peer {
    this.settle();
    const fd = accept(server);
    if (fd === undefined) throw new Error("no connection");
    return this.peer(fd);
  }

  peer(fd: number): Peer {
    const peer = new Peer(fd);
    this.#peers.push(peer);
    return peer;
  }

  /** A connection that a client of the host has made to the guest's port. */
  connectToGuest(guestPort: number): { peer: Peer; hostPort: number } {
    const peer = this.client(`CONNECT ${guestPort}\n`);
    const { hostPort } = this.one();
    this.send({ op: VsockOp.RESPONSE, guestPort, hostPort });
    const answer = peer.text();
    if (answer !== `OK ${hostPort}\n`) throw new Error(`the client was told '${answer}'`);
    return { peer, hostPort };
  }

  /** A connection of the guest's to a server of the host. */
  connectToHost(guestPort: number, hostPort: number): Peer {
    const server = this.server(hostPort);
    this.send({ op: VsockOp.REQUEST, guestPort, hostPort });
    const peer = this.accepted(server);
    const { op } = this.one();
    if (op !== VsockOp.RESPONSE) throw new Error(`the guest was answered with ${op}`);
    libc.close(server);
    this.#fds.splice(this.#fds.indexOf(server), 1);
    rmSync(`${this.path}_${hostPort}`);
    return peer;
  }

  /** The back end's thread ends, and another takes its place. */
  restart(): void {
    this.backEnd.close();
    this.#epoll.close();
    this.#epoll = new Epoll();
    this.#handlers = [];
    this.backEnd = this.#newBackEnd();
  }

  close(): void {
    this.backEnd.close();
    this.#epoll.close();
    libc.close(this.#listenFd);
    for (const fd of this.#fds) libc.close(fd);
    for (const peer of this.#peers) peer.close();
    rmSync(this.folder, { recursive: true });
  }

  readonly #peers: Peer[] = [];

  #newBackEnd(): VsockBackEnd {
    const loop = {
      watch: (fd: number, handle: (events: number) => void) => {
        const token = this.#handlers.push(handle) - 1;
        return new Watch(this.#epoll, fd, token, () => undefined);
      },
    };
    const { wiring } = this.transport;
    return new VsockBackEnd(
      loop,
      { transport: wiring, cid: GUEST_CID, listenFd: this.#listenFd, path: this.path },
      this.memory,
    );
  }

  #parse(address: number, written: number): Packet {
    const bytes = new Uint8Array(written);
    this.memory.read(address, bytes);
    if (written < HEADER_BYTES) throw new Error(`a packet of ${written} bytes`);
    const view = new DataView(bytes.buffer);
    const len = view.getUint32(24, true);
    if (written !== HEADER_BYTES + len) throw new Error(`${written} bytes for a payload of ${len}`);
    const cids = [0, 4, 8, 12].map((at) => view.getUint32(at, true)).join();
    if (cids !== `${HOST_CID},0,${GUEST_CID},0`) throw new Error(`cids ${cids}`);
    return {
      hostPort: view.getUint32(16, true),
      guestPort: view.getUint32(20, true),
      len,
      type: view.getUint16(28, true),
      op: view.getUint16(30, true),
      flags: view.getUint32(32, true),
      bufAlloc: view.getUint32(36, true),
      fwdCnt: view.getUint32(40, true),
      data: bytes.subarray(HEADER_BYTES),
    };
  }
}

/** A socket of the host, used without waiting. */
export class Peer {
  readonly fd: number;
  #open = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** @returns how much went */
  send(data: Uint8Array | string): number {
    return send(this.fd, typeof data === "string" ? new TextEncoder().encode(data) : data);
  }

  /** What there is, at most 64 KiB; undefined when there is nothing, empty at the end. */
  read(): Uint8Array | undefined {
    return receive(this.fd)?.bytes.slice();
  }

  text(): string {
    return new TextDecoder().decode(this.read() ?? new Uint8Array(0));
  }

  /** Whether the other side has ended the connection. */
  get ended(): boolean {
    try {
      return this.read()?.length === 0;
    } catch {
      return true;
    }
  }

  endSending(): void {
    libc.shutdown(this.fd, 1);
  }

  endReceiving(): void {
    libc.shutdown(this.fd, 0);
  }

  close(): void {
    if (this.#open) libc.close(this.fd);
    this.#open = false;
  }
}
