import { IoLoop, Watch } from "../../../src/devices/io-loop.ts";
import { Epoll } from "../../../src/host/epoll.ts";

/** Events in a row with nothing new from anybody: a device that is still busy then never rests. */
const MOST_EVENTS = 20_000;

/** Waits for descriptors, and serves those that are ready when it is told to. */
export class StepLoop implements Pick<IoLoop, "watch"> {
  readonly #epoll = new Epoll();
  readonly #handlers: (((events: number) => void) | undefined)[] = [];
  readonly #free: number[] = [];
  #events = 0;
  readonly #dispatch = (token: number, events: number): void => {
    this.#events++;
    this.#handlers[token]?.(events);
  };
  readonly #forget = (token: number): void => {
    this.#handlers[token] = undefined;
    this.#free.push(token);
  };

  watch(fd: number, handle: (events: number) => void): Watch {
    const token = this.#free.pop() ?? this.#handlers.length;
    this.#handlers[token] = handle;
    return new Watch(this.#epoll, fd, token, this.#forget);
  }

  /** Serves until nothing happens any more. @throws Error when something always does */
  settle(): void {
    this.#events = 0;
    while (this.#epoll.wait(0, this.#dispatch) > 0)
      if (this.#events > MOST_EVENTS) throw new Error(`the device is still busy after ${this.#events} events`);
  }

  close(): void {
    this.#epoll.close();
  }
}

/** The loop of an I/O thread that takes a step when it is told to. */
export class FuzzLoop extends IoLoop {
  #steps = new StepLoop();

  override watch(fd: number, handle: (events: number) => void): Watch {
    return this.#steps.watch(fd, handle);
  }

  /** As `StepLoop.settle`. */
  settle(): void {
    this.#steps.settle();
  }

  /** Forgets what it waits for. */
  renew(): void {
    this.#steps.close();
    this.#steps = new StepLoop();
  }
}
