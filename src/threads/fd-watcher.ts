import { Epoll, EpollEvent } from "../host/epoll.ts";
import { createEventFd, signalEventFd } from "../host/eventfd.ts";
import { libc, WORKER_ARGUMENTS } from "../host/libc.ts";
import type { SeccompMode } from "../host/seccomp/install.ts";
import { type Failure, ThreadError } from "./failure.ts";

/** Token of the eventfd that ends the thread; all others are positive. */
export const STOP_TOKEN = 0;
const UNTIL_STARTED_MS = 1;

/** What the watching thread is told. */
export interface WatcherJob {
  readonly name: string;
  readonly epollFd: number;
  /** Undefined when there is to be no filter. */
  readonly seccomp: SeccompMode | undefined;
}

/** What the watching thread tells: tokens and events in turns, or its end. */
export type WatcherMessage =
  | { readonly kind: "started" }
  | { readonly kind: "ready"; readonly events: readonly number[] }
  | { readonly kind: "stopped" }
  | { readonly kind: "failed"; readonly failure: Failure };

/** Told when something has changed about a descriptor: a set of `EpollEvent`. Edge-triggered. */
export type ReadyListener = (events: number) => void;

/**
 * Lets the main thread wait for descriptors as it waits for anything else: the JavaScript event loop cannot watch a
 * descriptor without reading it, so a thread of its own sleeps in epoll_wait and passes on what became ready. All reading and
 * writing stays on the main thread.
 *
 * Events are edge-triggered: whoever is told must read, or write, until that would block.
 */
export class FdWatcher {
  readonly #epoll = new Epoll();
  readonly #stopFd = createEventFd();
  readonly #listeners = new Map<number, ReadyListener>();
  readonly #worker: Worker;
  readonly #onFailure: (error: Error) => void;
  /** A thread takes milliseconds to start: until it has, the main thread looks for itself. */
  readonly #untilStarted: Timer;
  #lastToken = STOP_TOKEN;

  /**
   * @param name of the thread
   * @param entry the module of the thread: workers/fd-watcher.ts
   * @param seccomp what a violation of its filter leads to; without it there is no filter
   * @param onFailure told when the thread fails: nothing is watched any more
   * @throws SysError
   */
  constructor(name: string, entry: string, seccomp: SeccompMode | undefined, onFailure: (error: Error) => void) {
    this.#onFailure = onFailure;
    this.#epoll.add(this.#stopFd, STOP_TOKEN);
    this.#worker = new Worker(entry, { name, smol: true, argv: [...WORKER_ARGUMENTS] });
    this.#worker.onmessage = ({ data }: MessageEvent<WatcherMessage>) => this.#receive(name, data);
    this.#worker.onerror = ({ message }) => onFailure(new ThreadError(name, [{ name: "Error", message }]));
    const job: WatcherJob = { name, epollFd: this.#epoll.fd, seccomp };
    this.#worker.postMessage(job);
    this.#untilStarted = setInterval(() => this.#epoll.wait(0, this.#dispatch), UNTIL_STARTED_MS);
  }

  /**
   * Watches a descriptor for input, output and the other side's end, until `unwatch`.
   * @returns what to give to `unwatch`
   * @throws SysError
   */
  watch(fd: number, listener: ReadyListener): number {
    const token = ++this.#lastToken;
    this.#epoll.add(fd, token, EpollEvent.IN | EpollEvent.OUT | EpollEvent.RDHUP | EpollEvent.ET);
    this.#listeners.set(token, listener);
    return token;
  }

  /** Stops watching. Must come before the descriptor is closed. @throws SysError */
  unwatch(fd: number, token: number): void {
    this.#listeners.delete(token);
    this.#epoll.remove(fd);
  }

  /** Ends the thread. */
  close(): void {
    clearInterval(this.#untilStarted);
    this.#listeners.clear();
    signalEventFd(this.#stopFd);
  }

  readonly #dispatch = (token: number, events: number): void => this.#listeners.get(token)?.(events);

  #receive(name: string, message: WatcherMessage): void {
    switch (message.kind) {
      case "started":
        clearInterval(this.#untilStarted);
        return;
      case "ready": {
        const { events } = message;
        for (let i = 0; i + 1 < events.length; i += 2) this.#dispatch(events[i] ?? STOP_TOKEN, events[i + 1] ?? 0);
        return;
      }
      case "failed":
        this.#onFailure(new ThreadError(name, message.failure));
        break;
      case "stopped":
    }
    clearInterval(this.#untilStarted);
    this.#worker.terminate();
    this.#epoll.close();
    libc.close(this.#stopFd);
  }
}
