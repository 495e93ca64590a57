import type { Connection } from "./connection.ts";
import { MAX_CONNECTIONS, PAIR_WORDS, PAIRS_WORDS } from "./limits.ts";

/** Host ports of connections that the host opens: from here on, below bit 31. */
const FIRST_HOST_PORT = 0x4000_0000;
const HOST_PORT_MASK = 0x3fff_ffff;

/**
 * The connections by place and by their ports. The ports of each are also in the device's block, so that a guest that goes
 * on elsewhere can be told which of its connections are gone.
 */
export class ConnectionTable {
  readonly #make: (slot: number) => Connection;
  readonly #pairs: Uint32Array;
  readonly #slots: Connection[] = [];
  readonly #free: Connection[] = [];
  /** By a hash of both ports: the first of those that share it. */
  readonly #byPorts = new Map<number, Connection>();
  readonly #hostPorts = new Set<number>();
  #nextHostPort = 0;

  /**
   * @param make a connection for a place that has had none yet
   * @param pairs `PAIRS_WORDS` words of the device's block
   */
  constructor(make: (slot: number) => Connection, pairs: Uint32Array) {
    this.#make = make;
    this.#pairs = pairs;
  }

  /** Connections in use. */
  get size(): number {
    return this.#slots.length - this.#free.length;
  }

  /** The connection at a place, in use or not. */
  at(slot: number): Connection | undefined {
    return this.#slots[slot];
  }

  /** Every connection there has been, in use or not. */
  get all(): readonly Connection[] {
    return this.#slots;
  }

  /** A connection that is not in use; undefined when all are. */
  take(): Connection | undefined {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const slot = this.#slots.length;
    if (slot === MAX_CONNECTIONS) return undefined;
    const connection = this.#make(slot);
    this.#slots.push(connection);
    return connection;
  }

  /** Takes a connection back. */
  give(connection: Connection): void {
    this.unlink(connection);
    this.#free.push(connection);
  }

  find(hostPort: number, guestPort: number): Connection | undefined {
    let found = this.#byPorts.get(hash(hostPort, guestPort));
    while (found !== undefined && (found.hostPort !== hostPort || found.guestPort !== guestPort)) found = found.chained;
    return found;
  }

  /** A host port that no connection has. */
  freeHostPort(): number {
    for (;;) {
      const port = FIRST_HOST_PORT + this.#nextHostPort;
      this.#nextHostPort = (this.#nextHostPort + 1) & HOST_PORT_MASK;
      if (!this.#hostPorts.has(port)) return port;
    }
  }

  /** Gives a connection its ports, by which it is found from now on. */
  link(connection: Connection, hostPort: number, guestPort: number): void {
    const key = hash(hostPort, guestPort);
    connection.hostPort = hostPort;
    connection.guestPort = guestPort;
    connection.chained = this.#byPorts.get(key);
    connection.linked = true;
    this.#byPorts.set(key, connection);
    if (hostPort >= FIRST_HOST_PORT) this.#hostPorts.add(hostPort);
    const at = connection.slot * PAIR_WORDS;
    this.#pairs[at + 1] = hostPort;
    this.#pairs[at + 2] = guestPort;
    this.#pairs[at] = 1;
  }

  /** Its ports are free again. */
  unlink(connection: Connection): void {
    if (!connection.linked) return;
    connection.linked = false;
    const { hostPort, guestPort } = connection;
    const key = hash(hostPort, guestPort);
    const first = this.#byPorts.get(key);
    if (first !== connection) {
      let before = first;
      while (before !== undefined && before.chained !== connection) before = before.chained;
      if (before !== undefined) before.chained = connection.chained;
    } else if (connection.chained === undefined) this.#byPorts.delete(key);
    else this.#byPorts.set(key, connection.chained);
    connection.chained = undefined;
    this.#hostPorts.delete(hostPort);
    this.#pairs[connection.slot * PAIR_WORDS] = 0;
  }

  /** The pairs of ports that the device's block holds: after a restore, those that the guest has open. */
  savedPairs(): readonly (readonly [hostPort: number, guestPort: number])[] {
    const pairs: (readonly [number, number])[] = [];
    for (let at = 0; at < PAIRS_WORDS; at += PAIR_WORDS)
      if (this.#pairs[at] !== 0) pairs.push([this.#pairs[at + 1] ?? 0, this.#pairs[at + 2] ?? 0]);
    return pairs;
  }
}

const hash = (hostPort: number, guestPort: number): number => (Math.imul(hostPort, 0x9e37_79b1) ^ guestPort) >>> 0;
