import { monotonicNs } from "../host/clock.ts";
import { Epoll } from "../host/epoll.ts";
import { Errno } from "../host/errno.ts";
import { drainEventFd } from "../host/eventfd.ts";
import { libc } from "../host/libc.ts";
import { createTimerFd, setTimerFd } from "../host/timerfd.ts";
import { accept, tryConnect } from "../host/unix-socket.ts";
import { logger } from "../threads/log.ts";
import { ANSWER_MS, Connection, type ConnectionOwner, ConnectionState, SOCKET_EVENTS } from "./connection.ts";
import { ConnectionTable } from "./connection-table.ts";
import { Greeting, takeGreeting } from "./greeting.ts";
import { MAX_CONNECTIONS } from "./limits.ts";
import { type GuestReceiver, HOST_CID, type Payload, type VsockHeader, VsockOp, VsockType } from "./packet.ts";
import { ReadyList } from "./ready-list.ts";
import { StrayResets } from "./stray-resets.ts";
import { BUFFER_BYTES, BufferPool, LARGE_BUFFER_BYTES } from "./stream-buffer.ts";

const log = logger("vsock");

/** Tokens of the epoll instance: those of connections follow. */
const LISTENER = 0;
const TIMER = 1;
const FIRST_SLOT = 2;

/** Streams that may have a large buffer at a time. */
const LARGE_BUFFERS = 64;
/** Clients accepted before the guest has its turn. */
const ACCEPT_BATCH = 64;
/** Turns of connections before the other devices of the thread have theirs. */
const PUMP_TURNS = 64;
/** How long until a server of the host that has too many clients waiting is tried again. */
const CONNECT_AGAIN_MS = 10;
/** How long until clients are accepted again, after there was no descriptor for one. */
const ACCEPT_AGAIN_MS = 1000;
const NS_PER_MS = 1e6;

/** What the muxer is made from. */
export interface MuxerSetup {
  /** The guest's context id. */
  readonly cid: number;
  /** Where clients of the host connect: non-blocking, the caller's to close. */
  readonly listenFd: number;
  /** Its path. Servers of the host listen at `<path>_<port>`. */
  readonly path: string;
  /** `PAIRS_WORDS` words of the device's block: what they hold at first, the guest is told is over. */
  readonly pairs: Uint32Array;
}

/**
 * Carries streams between the guest and Unix sockets of the host: the host's side of virtio-vsock (virtio.md, 5.2 to 5.4).
 * All sockets are in an epoll instance of its own, which is readable when `poll` has something to do.
 */
export class VsockMuxer implements ConnectionOwner {
  readonly buffers = new BufferPool(MAX_CONNECTIONS, BUFFER_BYTES);
  readonly largeBuffers = new BufferPool(LARGE_BUFFERS, LARGE_BUFFER_BYTES);
  readonly #setup: MuxerSetup;
  readonly #epoll = new Epoll();
  readonly #timerFd = createTimerFd();
  readonly #table: ConnectionTable;
  readonly #ready = new ReadyList();
  readonly #resets = new StrayResets();
  /** When the timer goes off; 0 while it is not set. */
  #timerNs = 0;
  /** When to accept clients again; 0 while they are. */
  #acceptAgainNs = 0;
  #wanted = false;
  #listening = false;
  #ages = 0;

  /** @throws SysError */
  constructor(setup: MuxerSetup) {
    this.#setup = setup;
    this.#table = new ConnectionTable((slot) => new Connection(slot, this), setup.pairs);
    this.#epoll.add(this.#timerFd, TIMER);
    const pairs = this.#table.savedPairs();
    setup.pairs.fill(0);
    for (const [hostPort, guestPort] of pairs) this.#take(hostPort, guestPort)?.reset();
  }

  /** Readable when `poll` has something to do. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** Connections in use, those included that are coming up or going down. */
  get connections(): number {
    return this.#table.size;
  }

  /** Whether clients of the host are accepted: not before there is a driver. @throws SysError */
  listen(on: boolean): void {
    this.#wanted = on;
    this.#watchListener();
  }

  /** Serves sockets and timers. Without waiting. @throws SysError */
  poll(): void {
    this.#epoll.wait(0, this.#onEvent);
  }

  /** Takes a packet of the guest. @param packet a copy that the guest cannot change */
  receive(packet: VsockHeader, payload: Payload): void {
    const { op, type, src_port: guestPort, dst_port: hostPort } = packet;
    if (packet.dst_cid !== HOST_CID || packet.src_cid !== this.#setup.cid) return;
    const connection = type === VsockType.STREAM ? this.#table.find(hostPort, guestPort) : undefined;
    if (connection !== undefined) connection.receive(packet, payload);
    else if (op === VsockOp.REQUEST && type === VsockType.STREAM) this.#connect(packet);
    else if (op !== VsockOp.RST) this.#resets.push(hostPort, guestPort, type);
  }

  /**
   * Sends what there is to send, one connection after the other.
   * @param header where packets are put together
   * @returns "more" when this took its time and there is more to do, "full" when the driver has no buffer left
   */
  pump(guest: GuestReceiver, header: VsockHeader): "idle" | "more" | "full" {
    header.src_cid = HOST_CID;
    header.dst_cid = this.#setup.cid;
    for (let turns = 0; turns < PUMP_TURNS; turns++) {
      if (this.#resets.fill(header)) {
        if (!guest.send(header)) return "full";
        this.#resets.shift();
        continue;
      }
      header.type = VsockType.STREAM;
      const connection = this.#ready.shift();
      if (connection === undefined) return "idle";
      const served = connection.serve(guest, header);
      if (served === "sent") this.#ready.push(connection);
      else if (served === "full") {
        this.#ready.unshift(connection);
        return "full";
      }
    }
    return "more";
  }

  /** Closes all connections and what was opened here. */
  close(): void {
    for (const connection of this.#table.all) if (connection.state !== ConnectionState.FREE) connection.drop();
    this.buffers.close();
    this.largeBuffers.close();
    libc.close(this.#timerFd);
    this.#epoll.close();
  }

  ready(connection: Connection): void {
    this.#ready.push(connection);
  }

  watch(connection: Connection, events: number): void {
    this.#epoll.modify(connection.fd, FIRST_SLOT + connection.slot, events);
  }

  startTimer(connection: Connection, ms: number): void {
    connection.deadline = monotonicNs() + ms * NS_PER_MS;
    this.#setTimer(connection.deadline);
  }

  unlink(connection: Connection): void {
    this.#table.unlink(connection);
  }

  release(connection: Connection): void {
    this.#table.give(connection);
  }

  #watchListener(): void {
    const on = this.#wanted && this.#acceptAgainNs === 0;
    if (on === this.#listening) return;
    this.#listening = on;
    if (on) this.#epoll.add(this.#setup.listenFd, LISTENER);
    else this.#epoll.remove(this.#setup.listenFd);
  }

  readonly #onEvent = (token: number, events: number): void => {
    if (token === LISTENER) this.#accept();
    else if (token === TIMER) {
      drainEventFd(this.#timerFd);
      this.#expire();
    } else {
      const connection = this.#table.at(token - FIRST_SLOT);
      if (connection?.state === ConnectionState.GREETING) this.#greet(connection);
      else connection?.onSocket(events);
    }
  };

  /** A connection with these ports; undefined when there are too many. */
  #take(hostPort: number, guestPort: number): Connection | undefined {
    const connection = this.#open(ConnectionState.CONNECTING, -1);
    if (connection !== undefined) this.#table.link(connection, hostPort, guestPort);
    return connection;
  }

  #open(state: ConnectionState, fd: number): Connection | undefined {
    let connection = this.#table.take();
    if (connection === undefined) {
      this.#oldest(ConnectionState.GREETING, ConnectionState.DRAINING)?.drop();
      connection = this.#table.take();
    }
    connection?.begin(state, fd, this.#ages++);
    return connection;
  }

  /** What keeps others out and serves nobody: clients that do not say what they want come first. */
  #oldest(...states: readonly ConnectionState[]): Connection | undefined {
    for (const state of states) {
      let oldest: Connection | undefined;
      for (const connection of this.#table.all)
        if (connection.state === state && connection.age < (oldest?.age ?? Number.POSITIVE_INFINITY))
          oldest = connection;
      if (oldest !== undefined) return oldest;
    }
    return undefined;
  }

  #accept(): void {
    try {
      for (let i = 0; i < ACCEPT_BATCH; i++) {
        const fd = accept(this.#setup.listenFd);
        if (fd === undefined) return;
        const connection = this.#open(ConnectionState.GREETING, fd);
        if (connection === undefined) {
          log.debug(`a client was turned away: all ${MAX_CONNECTIONS} connections are in use`);
          libc.close(fd);
        } else if (this.#watchNew(connection, fd)) this.#greet(connection);
      }
    } catch (error) {
      log.warn(`clients have to wait: ${error instanceof Error ? error.message : String(error)}`);
      this.#acceptAgainNs = monotonicNs() + ACCEPT_AGAIN_MS * NS_PER_MS;
      this.#watchListener();
      this.#setTimer(this.#acceptAgainNs);
    }
  }

  /** @returns whether the socket of a new connection is watched; else the connection is over */
  #watchNew(connection: Connection, fd: number): boolean {
    try {
      this.#epoll.add(fd, FIRST_SLOT + connection.slot, SOCKET_EVENTS);
      return true;
    } catch {
      connection.fd = fd;
      connection.drop();
      return false;
    }
  }

  #greet(connection: Connection): void {
    const port = takeGreeting(connection.fd);
    if (port === Greeting.INCOMPLETE) return;
    if (port === Greeting.INVALID) {
      connection.drop();
      return;
    }
    this.#table.link(connection, this.#table.freeHostPort(), port);
    connection.request();
  }

  /** The guest asks for a server of the host. */
  #connect(packet: VsockHeader): void {
    const { src_port: guestPort, dst_port: hostPort } = packet;
    const connection = this.#take(hostPort, guestPort);
    if (connection === undefined) {
      this.#resets.push(hostPort, guestPort, VsockType.STREAM);
      return;
    }
    connection.learnCredit(packet);
    connection.giveUpNs = monotonicNs() + ANSWER_MS * NS_PER_MS;
    this.#tryServer(connection);
  }

  #tryServer(connection: Connection): void {
    const fd = this.#reachServer(connection.hostPort);
    if (fd >= 0) {
      if (this.#watchNew(connection, fd)) connection.accept(fd);
    } else if (fd === -Errno.EAGAIN && monotonicNs() < connection.giveUpNs)
      this.startTimer(connection, CONNECT_AGAIN_MS);
    else connection.reset();
  }

  /** A socket connected to a server, or a negated errno. */
  #reachServer(port: number): number {
    try {
      return tryConnect(`${this.#setup.path}_${port}`);
    } catch (error) {
      log.debug(() => `port ${port}: ${error instanceof Error ? error.message : String(error)}`);
      return -Errno.EMFILE;
    }
  }

  #setTimer(ns: number): void {
    if (this.#timerNs !== 0 && this.#timerNs <= ns) return;
    this.#timerNs = ns;
    setTimerFd(this.#timerFd, ns);
  }

  #expire(): void {
    this.#timerNs = 0;
    const now = monotonicNs();
    if (this.#acceptAgainNs !== 0 && this.#acceptAgainNs <= now) {
      this.#acceptAgainNs = 0;
      this.#watchListener();
    }
    let next = this.#acceptAgainNs === 0 ? Number.POSITIVE_INFINITY : this.#acceptAgainNs;
    for (const connection of this.#table.all) {
      if (connection.deadline !== 0 && connection.deadline <= now) {
        connection.deadline = 0;
        if (connection.state === ConnectionState.CONNECTING) this.#tryServer(connection);
        else connection.reset();
      }
      if (connection.deadline !== 0) next = Math.min(next, connection.deadline);
    }
    if (next < Number.POSITIVE_INFINITY) this.#setTimer(next);
  }
}
