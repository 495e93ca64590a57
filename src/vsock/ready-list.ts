import type { Connection } from "./connection.ts";

/** Connections that have something to send, in the order of their turns. Each is in it once at most. */
export class ReadyList {
  #first: Connection | undefined;
  #last: Connection | undefined;

  /** At the end, unless it is in the list. */
  push(connection: Connection): void {
    if (connection.queued) return;
    connection.queued = true;
    connection.next = undefined;
    if (this.#last === undefined) this.#first = connection;
    else this.#last.next = connection;
    this.#last = connection;
  }

  /** Before all others, unless it is in the list. */
  unshift(connection: Connection): void {
    if (connection.queued) return;
    connection.queued = true;
    connection.next = this.#first;
    this.#first = connection;
    this.#last ??= connection;
  }

  /** Takes the first out. */
  shift(): Connection | undefined {
    const first = this.#first;
    if (first === undefined) return undefined;
    first.queued = false;
    this.#first = first.next;
    if (this.#first === undefined) this.#last = undefined;
    return first;
  }
}
