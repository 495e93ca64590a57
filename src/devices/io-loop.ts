import { Epoll, EpollEvent } from "../host/epoll.ts";
import { type ThreadControl, ThreadRequest } from "../threads/control.ts";
import type { Departure } from "./departure.ts";

/** Something that an I/O thread serves. */
export interface IoClient {
  /** The thread starts, goes on after a pause, or was woken: look for everything that another thread may have left. */
  wake(): void;
  /** The VM is paused when this returns: finish or drop what is in flight. */
  pause(): void;
  /** The thread stops serving: close what was opened for it, after `pause` or while requests are under way. */
  close?(): void;
}

/** A file descriptor that an `IoLoop` waits for. */
export class Watch {
  readonly #epoll: Epoll;
  readonly #fd: number;
  readonly #token: number;
  readonly #forget: (token: number) => void;
  #events = 0;

  constructor(epoll: Epoll, fd: number, token: number, forget: (token: number) => void) {
    this.#epoll = epoll;
    this.#fd = fd;
    this.#token = token;
    this.#forget = forget;
  }

  /**
   * Waits for `events`, `EpollEvent` flags. 0 waits for nothing, not even a hang-up, which would be reported for ever.
   * @throws SysError when the descriptor cannot be waited for (EPERM: a regular file)
   */
  set(events: number): void {
    if (events === this.#events) return;
    if (events === 0) this.#epoll.remove(this.#fd);
    else if (this.#events === 0) this.#epoll.add(this.#fd, this.#token, events);
    else this.#epoll.modify(this.#fd, this.#token, events);
    this.#events = events;
  }

  /** Waits for nothing any more, for good: to be called before a descriptor is closed while the loop runs. */
  close(): void {
    this.set(0);
    this.#forget(this.#token);
  }
}

interface RemovableClient {
  readonly client: IoClient;
  readonly departure: Departure;
  readonly onLeft: () => void;
  /** What it watched from the start. */
  readonly watches: readonly Watch[];
}

/** The life of a thread that serves several devices of little traffic: it waits in epoll for all of them. */
export class IoLoop {
  readonly #control: ThreadControl;
  readonly #epoll = new Epoll();
  readonly #clients: IoClient[] = [];
  readonly #removable: RemovableClient[] = [];
  /** Those that the client makes which is being made. */
  #watchesOfClient: Watch[] | undefined;
  readonly #handlers: (((events: number) => void) | undefined)[] = [];
  /** Tokens of watches that are closed. */
  readonly #free: number[] = [];
  readonly #dispatch = (token: number, events: number): void => this.#handlers[token]?.(events);

  readonly #forget = (token: number): void => {
    this.#handlers[token] = undefined;
    this.#free.push(token);
  };

  /** @param control of the calling thread, which has entered it. @throws SysError */
  constructor(control: ThreadControl) {
    this.#control = control;
  }

  /**
   * Makes `handle` be called when `fd` is ready, as long as it is. Nothing is waited for until `Watch.set`.
   * @param fd not watched by another
   */
  watch(fd: number, handle: (events: number) => void): Watch {
    const token = this.#free.pop() ?? this.#handlers.length;
    this.#handlers[token] = handle;
    const watch = new Watch(this.#epoll, fd, token, this.#forget);
    this.#watchesOfClient?.push(watch);
    return watch;
  }

  /** Serves a client. To be called before `run`. */
  add(client: IoClient): void {
    this.#clients.push(client);
  }

  /**
   * Serves a client that may leave before the others. Then nothing is watched for it any more that it watched from the start.
   * @param onLeft called when it has left
   */
  addRemovable(make: () => IoClient, departure: Departure, onLeft: () => void): void {
    const watches: Watch[] = [];
    this.#watchesOfClient = watches;
    const client = make();
    this.#watchesOfClient = undefined;
    this.#removable.push({ client, departure, onLeft, watches });
    this.add(client);
  }

  /** Serves all clients until the thread is asked to stop: once in the loop's life. @throws whatever a client throws */
  run(): void {
    const control = this.#control;
    const clients = this.#clients;
    const wake = (): void => {
      this.#letGo();
      for (const client of clients) client.wake();
    };
    this.watch(control.wakeFd, () => {
      control.drainWake();
      wake();
    }).set(EpollEvent.IN);
    try {
      wake();
      while (control.request !== ThreadRequest.STOP) {
        if (control.request === ThreadRequest.PAUSE) {
          // Whoever asked for that before waits for it, and would wait for as long as the VM is paused.
          this.#letGo();
          for (const client of clients) client.pause();
          control.park();
          wake();
        } else this.#epoll.wait(-1, this.#dispatch);
      }
    } finally {
      for (const client of clients) client.close?.();
      this.#epoll.close();
    }
  }

  /** Stops serving the clients that are asked to leave. */
  #letGo(): void {
    for (const entry of this.#removable.filter(({ departure }) => departure.isAsked)) {
      const { client, watches, onLeft } = entry;
      this.#removable.splice(this.#removable.indexOf(entry), 1);
      this.#clients.splice(this.#clients.indexOf(client), 1);
      for (const watch of watches) watch.close();
      client.pause();
      client.close?.();
      onLeft();
    }
  }
}
