import { EpollEvent } from "../host/epoll.ts";
import { Errno } from "../host/errno.ts";
import { iovecTable, setIovec } from "../host/iovec.ts";
import { libc } from "../host/libc.ts";
import { PollEvent, pollNow } from "../host/poll.ts";
import { cString } from "../host/scratch.ts";
import { endReceiving, endSending, sendIovecs } from "../host/unix-socket.ts";
import {
  type GuestReceiver,
  MAX_PAYLOAD,
  NO_BUFFER,
  type Payload,
  Shutdown,
  type VsockHeader,
  VsockOp,
} from "./packet.ts";
import { BUFFER_BYTES, type BufferPool, StreamBuffer } from "./stream-buffer.ts";

/** Where a connection stands. */
export const ConnectionState = {
  /** Not in use. */
  FREE: 0,
  /** A client of the host has connected and not yet said to which port. */
  GREETING: 1,
  /** The guest waits for a server of the host, which has too many clients waiting. */
  CONNECTING: 2,
  /** A client of the host waits for the guest. */
  REQUESTED: 3,
  CONNECTED: 4,
  /** The guest is to be told that it is over. */
  RESETTING: 5,
  /** Over for the guest; the host has not taken all of the guest's data yet. */
  DRAINING: 6,
} as const;
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState];

/** What is to be said to the guest, as bits. */
const Pending = { REQUEST: 1, RESPONSE: 2, CREDIT_UPDATE: 4, SHUTDOWN: 8 } as const;

/** `Connection.serve`: what came of it. */
export type Served =
  /** A packet went; there may be more. */
  | "sent"
  /** There is nothing to send. */
  | "idle"
  /** The driver has no buffer. */
  | "full";

/** How long either side may take to answer (virtio.md, 5.3). */
export const ANSWER_MS = 2000;

/** A stream flows when the host has taken this much of it. */
const FLOWING_BYTES = 4 * BUFFER_BYTES;

/** What a socket is always watched for: each arrival once, so that what cannot be served yet wakes nobody. */
export const SOCKET_EVENTS = (EpollEvent.IN | EpollEvent.RDHUP | EpollEvent.ET) >>> 0;

/** What a connection needs of the device. */
export interface ConnectionOwner {
  readonly buffers: BufferPool;
  /** Of those there are fewer than connections. */
  readonly largeBuffers: BufferPool;
  /** Has `serve` called when it is the connection's turn. */
  ready(connection: Connection): void;
  /** Changes what a connection's socket is watched for. */
  watch(connection: Connection, events: number): void;
  /** Ends the connection after so long, unless `deadline` is taken back before. */
  startTimer(connection: Connection, ms: number): void;
  /** The guest knows nothing of the connection any more: its ports are free. */
  unlink(connection: Connection): void;
  /** The connection is over. */
  release(connection: Connection): void;
}

/** A stream between a port of the guest and a socket of the host. One object serves many in turn. */
export class Connection {
  readonly slot: number;
  state: ConnectionState = ConnectionState.FREE;
  hostPort = 0;
  guestPort = 0;
  /** Whether the table finds it by its ports, and the next with the same hash. */
  linked = false;
  chained: Connection | undefined;
  /** In the list of those that have something to send, and the next there. */
  queued = false;
  next: Connection | undefined;
  /** When something is to be done about it, by the owner's clock; 0 for never. */
  deadline = 0;
  /** While CONNECTING: when to stop trying, by the owner's clock. */
  giveUpNs = 0;
  /** Grows from connection to connection. */
  age = 0;
  /** The socket; -1 without. */
  fd = -1;
  readonly #owner: ConnectionOwner;
  readonly #buffer: StreamBuffer;
  #pending = 0;
  /** The socket may have something to read, or be at its end. */
  #readable = false;
  /** What each side has said it will not do any more, `Shutdown` flags. */
  #guestShutdown = 0;
  #hostShutdown = 0;
  #creditAsked = false;
  /** The buffer is one of the large ones. */
  #isLarge = false;
  /** Bytes to the guest, and what the guest says of its buffer (VIRTIO 1.3, 5.10.6.3). All counts are modulo 2^32. */
  #sent = 0;
  #guestBufAlloc = 0;
  #guestForwarded = 0;
  /** Bytes from the guest, those that the host has taken, and how many of them the guest knows of. */
  #received = 0;
  #forwarded = 0;
  #advertised = 0;

  constructor(slot: number, owner: ConnectionOwner) {
    this.slot = slot;
    this.#owner = owner;
    this.#buffer = new StreamBuffer(owner.buffers);
  }

  /** As new. */
  begin(state: ConnectionState, fd: number, age: number): void {
    this.state = state;
    this.fd = fd;
    this.age = age;
    this.deadline = 0;
    this.#pending = 0;
    this.#readable = false;
    this.#guestShutdown = 0;
    this.#hostShutdown = 0;
    this.#creditAsked = false;
    this.#sent = 0;
    this.#guestBufAlloc = 0;
    this.#guestForwarded = 0;
    this.#received = 0;
    this.#forwarded = 0;
    this.#advertised = 0;
  }

  /** A client of the host asks for the guest's port. */
  request(): void {
    this.state = ConnectionState.REQUESTED;
    this.#pending = Pending.REQUEST;
    this.#owner.startTimer(this, ANSWER_MS);
    this.#owner.ready(this);
  }

  /** The guest's request has reached a server of the host. @param fd connected, watched for `SOCKET_EVENTS` */
  accept(fd: number): void {
    this.fd = fd;
    this.deadline = 0;
    this.state = ConnectionState.CONNECTED;
    this.#pending = Pending.RESPONSE;
    this.#readable = true;
    this.#owner.ready(this);
  }

  /** Takes note of what a packet says of the guest's buffer, which every packet does. */
  learnCredit(packet: VsockHeader): void {
    this.#guestBufAlloc = packet.buf_alloc;
    this.#guestForwarded = packet.fwd_cnt;
    if (this.#credit === 0) return;
    this.#creditAsked = false;
    if (this.#canRead) this.#owner.ready(this);
  }

  /** Takes a packet of the guest. */
  receive(packet: VsockHeader, payload: Payload): void {
    const { op } = packet;
    if (op === VsockOp.RST) {
      this.#endForGuest();
      return;
    }
    if (this.state === ConnectionState.RESETTING) return;
    this.learnCredit(packet);
    switch (op) {
      case VsockOp.RESPONSE:
        if (this.state === ConnectionState.REQUESTED) this.#accepted();
        return;
      case VsockOp.RW:
        this.#takeData(packet.len, payload);
        return;
      case VsockOp.SHUTDOWN:
        this.#guestShuts(packet.flags & Shutdown.BOTH);
        return;
      case VsockOp.CREDIT_REQUEST:
        this.#say(Pending.CREDIT_UPDATE);
        return;
    }
  }

  /** Something may have happened to the socket. It need not have: `events` may be those of the place's last connection. */
  onSocket(events: number): void {
    if ((events & EpollEvent.OUT) !== 0 || (events & EpollEvent.HUP) !== 0) this.#flush();
    if (this.state !== ConnectionState.REQUESTED && this.state !== ConnectionState.CONNECTED) return;
    if ((events & ~EpollEvent.OUT) === 0) return;
    this.#readable = true;
    if (this.#canRead) this.#owner.ready(this);
    else if ((events & EpollEvent.HUP) !== 0 && this.#hungUp) this.#hostShuts(Shutdown.BOTH);
  }

  /** Sends the guest one packet, or a few of data. @param header its addresses and type are set */
  serve(guest: GuestReceiver, header: VsockHeader): Served {
    switch (this.state) {
      case ConnectionState.RESETTING:
        if (!this.#send(guest, header, VsockOp.RST)) return "full";
        this.#endForGuest();
        return "idle";
      case ConnectionState.REQUESTED:
        return this.#serveOne(guest, header, Pending.REQUEST, VsockOp.REQUEST);
      case ConnectionState.CONNECTED:
        return this.#serveConnected(guest, header);
      default:
        return "idle";
    }
  }

  /** Ends the connection and tells the guest. What the guest had sent before it said it was done still reaches the host. */
  reset(): void {
    this.deadline = 0;
    // What the guest has not heard of needs no end.
    const unknown = this.state === ConnectionState.REQUESTED && (this.#pending & Pending.REQUEST) !== 0;
    this.state = ConnectionState.RESETTING;
    if (!this.#mustDrain) this.#close();
    if (unknown) this.#endForGuest();
    else this.#owner.ready(this);
  }

  /** Ends the connection without a word. */
  drop(): void {
    this.#close();
    this.state = ConnectionState.FREE;
    this.#owner.release(this);
  }

  /** Bytes that the guest still has room for. */
  get #credit(): number {
    const inFlight = (this.#sent - this.#guestForwarded) >>> 0;
    return inFlight < this.#guestBufAlloc ? this.#guestBufAlloc - inFlight : 0;
  }

  get #canRead(): boolean {
    return (
      this.#readable &&
      (this.#hostShutdown & Shutdown.SEND) === 0 &&
      (this.#guestShutdown & Shutdown.RECEIVE) === 0 &&
      this.state === ConnectionState.CONNECTED
    );
  }

  /** The guest has said that it is done, and the host has not taken all of it. */
  get #mustDrain(): boolean {
    return (this.#guestShutdown & Shutdown.SEND) !== 0 && this.#buffer.length > 0;
  }

  /** The peer has closed its socket. */
  get #hungUp(): boolean {
    return (pollNow(this.fd, 0) & PollEvent.HUP) !== 0;
  }

  #say(what: number): void {
    this.#pending |= what;
    this.#owner.ready(this);
  }

  /** The guest takes the host's request. */
  #accepted(): void {
    this.deadline = 0;
    this.state = ConnectionState.CONNECTED;
    this.#readable = true;
    const line = `OK ${this.hostPort}\n`;
    const table = iovecTable();
    setIovec(table.u32, 0, cString(line), line.length);
    // A socket on which nothing was sent yet has room for a line, if there is anybody to read it.
    if (sendIovecs(this.fd, table.address, 1) < 0) this.#hostShuts(Shutdown.RECEIVE);
    this.#owner.ready(this);
  }

  #takeData(length: number, payload: Payload): void {
    if (
      this.state !== ConnectionState.CONNECTED ||
      (this.#guestShutdown & Shutdown.SEND) !== 0 ||
      length > MAX_PAYLOAD ||
      length > payload.bytes ||
      length > this.#buffer.capacity - this.#buffer.length
    ) {
      this.reset();
      return;
    }
    this.#received = (this.#received + length) >>> 0;
    let taken = 0;
    if ((this.#hostShutdown & Shutdown.RECEIVE) !== 0) taken = length;
    else if (this.#buffer.length === 0 && length > 0) {
      const table = iovecTable();
      const sent = sendIovecs(this.fd, table.address, payload.iovecs(table.u32, 0, length));
      if (sent >= 0) taken = sent;
      else if (!isTransient(-sent)) {
        taken = length;
        this.#hostShuts(Shutdown.RECEIVE);
      }
    }
    if (taken < length) {
      if (this.#buffer.length === 0) this.#owner.watch(this, (SOCKET_EVENTS | EpollEvent.OUT) >>> 0);
      this.#buffer.append(payload.iovecs(iovecTable().u32, taken, length - taken));
    }
    this.#forward(taken);
  }

  /** The host has taken so much of the guest's data. */
  #forward(bytes: number): void {
    this.#forwarded = (this.#forwarded + bytes) >>> 0;
    if (!this.#isLarge && this.#forwarded >= FLOWING_BYTES && this.#buffer.length === 0) this.#enlarge();
    // The guest is told of free space when it knows of less than half of it.
    const { capacity } = this.#buffer;
    const known = capacity - ((this.#received - this.#advertised) >>> 0);
    if (known < capacity / 2 && this.#forwarded !== this.#advertised) this.#say(Pending.CREDIT_UPDATE);
  }

  /** What was advertised cannot be taken back, so it is so until the connection ends. */
  #enlarge(): void {
    const { largeBuffers } = this.#owner;
    if (!largeBuffers.reserve()) return;
    this.#isLarge = true;
    this.#buffer.use(largeBuffers);
    this.#say(Pending.CREDIT_UPDATE);
  }

  /** Sends the host what it has not taken yet. */
  #flush(): void {
    const buffered = this.#buffer.length;
    if (buffered === 0) return;
    const sent = this.#buffer.flush(this.fd);
    if (sent >= 0) this.#forward(sent);
    else if (!isTransient(-sent)) {
      this.#buffer.clear();
      this.#forward(buffered);
      this.#hostShuts(Shutdown.RECEIVE);
    }
    if (this.#buffer.length > 0) return;
    switch (this.state) {
      case ConnectionState.CONNECTED:
        this.#owner.watch(this, SOCKET_EVENTS);
        if (this.#guestShutdown === Shutdown.BOTH) this.reset();
        else if ((this.#guestShutdown & Shutdown.SEND) !== 0) endSending(this.fd);
        return;
      case ConnectionState.RESETTING:
        this.#close();
        return;
      case ConnectionState.DRAINING:
        this.drop();
        return;
    }
  }

  #guestShuts(flags: number): void {
    if (this.state !== ConnectionState.CONNECTED) {
      this.reset();
      return;
    }
    const added = flags & ~this.#guestShutdown;
    this.#guestShutdown |= flags;
    if (this.#guestShutdown === Shutdown.BOTH) {
      if (this.#buffer.length === 0) this.reset();
      else if (added !== 0) this.#owner.startTimer(this, ANSWER_MS);
      return;
    }
    if ((added & Shutdown.SEND) !== 0 && this.#buffer.length === 0) endSending(this.fd);
    if ((added & Shutdown.RECEIVE) !== 0) endReceiving(this.fd);
  }

  /** The host will not do something any more. */
  #hostShuts(flags: number): void {
    if (this.state !== ConnectionState.CONNECTED || (flags & ~this.#hostShutdown) === 0) return;
    this.#hostShutdown |= flags;
    if (this.#hostShutdown === Shutdown.BOTH) this.#owner.startTimer(this, ANSWER_MS);
    this.#say(Pending.SHUTDOWN);
  }

  #serveConnected(guest: GuestReceiver, header: VsockHeader): Served {
    if ((this.#pending & Pending.RESPONSE) !== 0)
      return this.#serveOne(guest, header, Pending.RESPONSE, VsockOp.RESPONSE);
    if (this.#canRead) {
      const credit = this.#credit;
      if (credit > 0) {
        const served = this.#read(guest, header, Math.min(credit, MAX_PAYLOAD));
        if (served !== "idle") return served;
      } else if (!this.#creditAsked) {
        if (!this.#send(guest, header, VsockOp.CREDIT_REQUEST)) return "full";
        this.#creditAsked = true;
        return "sent";
      }
    }
    if ((this.#pending & Pending.CREDIT_UPDATE) !== 0)
      return this.#serveOne(guest, header, Pending.CREDIT_UPDATE, VsockOp.CREDIT_UPDATE);
    return this.#serveOne(guest, header, Pending.SHUTDOWN, VsockOp.SHUTDOWN);
  }

  /** Moves data from the socket to the guest. "idle" when there was none. */
  #read(guest: GuestReceiver, header: VsockHeader, limit: number): Served {
    this.#fill(header, VsockOp.RW);
    const count = guest.fill(header, this.fd, limit);
    if (count === NO_BUFFER) return "full";
    if (count > 0) {
      this.#sent = (this.#sent + count) >>> 0;
      this.#told();
      return "sent";
    }
    if (count === -Errno.EINTR) return "sent";
    this.#readable = false;
    if (count !== -Errno.EAGAIN) this.#hostShuts(count === 0 && !this.#hungUp ? Shutdown.SEND : Shutdown.BOTH);
    return "idle";
  }

  /** Sends what is pending, if it is. */
  #serveOne(guest: GuestReceiver, header: VsockHeader, what: number, op: VsockOp): Served {
    if ((this.#pending & what) === 0) return "idle";
    if (!this.#send(guest, header, op)) return "full";
    this.#pending &= ~what;
    return "sent";
  }

  #send(guest: GuestReceiver, header: VsockHeader, op: VsockOp): boolean {
    this.#fill(header, op);
    if (!guest.send(header)) return false;
    this.#told();
    return true;
  }

  #fill(header: VsockHeader, op: VsockOp): void {
    header.src_port = this.hostPort;
    header.dst_port = this.guestPort;
    header.len = 0;
    header.op = op;
    header.flags = op === VsockOp.SHUTDOWN ? this.#hostShutdown : 0;
    header.buf_alloc = this.#buffer.capacity;
    header.fwd_cnt = this.#forwarded;
  }

  /** The guest knows how much the host has taken: every packet says it. */
  #told(): void {
    this.#advertised = this.#forwarded;
    this.#pending &= ~Pending.CREDIT_UPDATE;
  }

  /** The guest knows that it is over. */
  #endForGuest(): void {
    this.deadline = 0;
    if (!this.#mustDrain) {
      this.drop();
      return;
    }
    this.state = ConnectionState.DRAINING;
    this.#owner.unlink(this);
  }

  #close(): void {
    this.deadline = 0;
    this.#buffer.clear();
    if (this.#isLarge) {
      this.#owner.largeBuffers.cancel();
      this.#buffer.use(this.#owner.buffers);
      this.#isLarge = false;
    }
    if (this.fd >= 0) libc.close(this.fd);
    this.fd = -1;
  }
}

const isTransient = (error: number): boolean => error === Errno.EAGAIN || error === Errno.EINTR;
