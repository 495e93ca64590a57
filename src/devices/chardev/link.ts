import { EpollEvent } from "../../host/epoll.ts";
import type { IoLoop, Watch } from "../io-loop.ts";

/** Told when something can be done that was wanted; also when it cannot be done any more, which doing it shows. */
export interface LinkListener {
  readable(): void;
  writable(): void;
}

/** One descriptor of a link, waited for while something is wanted of it. */
class Port {
  readonly #watch: Watch;
  #wanted = 0;

  constructor(loop: IoLoop, fd: number, listener: LinkListener) {
    this.#watch = loop.watch(fd, (events) => {
      const over = (events & (EpollEvent.ERR | EpollEvent.HUP)) !== 0;
      const ready = over ? EpollEvent.IN | EpollEvent.OUT : events;
      if ((ready & this.#wanted & EpollEvent.IN) !== 0) listener.readable();
      if ((ready & this.#wanted & EpollEvent.OUT) !== 0) listener.writable();
    });
  }

  want(event: number, wanted: boolean): void {
    this.#wanted = wanted ? this.#wanted | event : this.#wanted & ~event;
    this.#watch.set(this.#wanted);
  }

  close(): void {
    this.#wanted = 0;
    this.#watch.close();
  }
}

/** A connection with whoever is at the host's end of a character device. Each direction may end before the other. */
export class Link {
  readonly outputFd: number;
  readonly inputFd: number | undefined;
  inputOpen: boolean;
  outputOpen = true;
  readonly #output: Port;
  readonly #input: Port | undefined;

  /** @param inputFd where input comes from, if from anywhere; may be `outputFd` */
  constructor(loop: IoLoop, outputFd: number, inputFd: number | undefined, listener: LinkListener) {
    this.outputFd = outputFd;
    this.inputFd = inputFd;
    this.inputOpen = inputFd !== undefined;
    this.#output = new Port(loop, outputFd, listener);
    if (inputFd !== undefined) this.#input = inputFd === outputFd ? this.#output : new Port(loop, inputFd, listener);
  }

  /** Waits for input, or stops doing so. */
  wantInput(wanted: boolean): void {
    this.#input?.want(EpollEvent.IN, wanted && this.inputOpen);
  }

  /** Waits until output can go on, or stops doing so. */
  wantOutput(wanted: boolean): void {
    this.#output.want(EpollEvent.OUT, wanted && this.outputOpen);
  }

  /** Waits for nothing any more. The descriptors stay open. */
  close(): void {
    this.inputOpen = false;
    this.outputOpen = false;
    this.#output.close();
    if (this.#input !== this.#output) this.#input?.close();
  }
}
