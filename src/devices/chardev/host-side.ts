import { EpollEvent } from "../../host/epoll.ts";
import { SysError } from "../../host/errno.ts";
import { drainInotify } from "../../host/inotify.ts";
import { libc } from "../../host/libc.ts";
import { PollEvent, pollNow } from "../../host/poll.ts";
import { makeTerminalRaw } from "../../host/tty.ts";
import { accept } from "../../host/unix-socket.ts";
import { logger } from "../../threads/log.ts";
import type { IoLoop, Watch } from "../io-loop.ts";
import { Link, type LinkListener } from "./link.ts";
import type { OutputRing } from "./output-ring.ts";
import type { ChardevWiring, HostEnd } from "./wiring.ts";

const log = logger("chardev");

/** Told of the link's readiness, and when somebody has come. */
export interface HostSideListener extends LinkListener {
  arrived(): void;
}

/** Who is at the host's end of a character device, as they come and go. */
export interface HostSide {
  /** The connection with whoever is there; its directions tell whether anybody is. */
  readonly link: Link | undefined;
  /** Waits for others to come. */
  resume(): void;
  /** Waits for nobody. */
  pause(): void;
  /** A direction of the link has ended. */
  ended(): void;
}

type EndOf<K extends HostEnd["kind"]> = Extract<HostEnd, { readonly kind: K }>;

/** @throws SysError */
export function hostSide(
  loop: IoLoop,
  { name, end }: ChardevWiring,
  ring: OutputRing,
  listener: HostSideListener,
): HostSide {
  switch (end.kind) {
    case "fixed":
      return new FixedSide(loop, name, end, listener);
    case "pty":
      return new PtySide(loop, end, listener);
    case "socket":
      return new SocketSide(loop, name, end, ring, listener);
  }
}

/** What is there from the start, and when it is gone does not come back. */
class FixedSide implements HostSide {
  readonly link: Link;
  readonly #name: string;

  constructor(loop: IoLoop, name: string, end: EndOf<"fixed">, listener: HostSideListener) {
    this.#name = name;
    this.link = new Link(loop, end.outputFd, end.inputFd, listener);
  }

  resume(): void {}

  pause(): void {}

  ended(): void {
    if (!this.link.outputOpen) log.warn(`${this.#name}: nobody takes the output any more`);
    else log.info(`${this.#name}: the input has ended`);
  }
}

/**
 * A pseudo-terminal. While no program has it open, it hangs; the kernel tells of the last one that closes it by a hang-up,
 * and of the next one that opens it only by inotify.
 */
class PtySide implements HostSide {
  readonly link: Link;
  readonly #masterFd: number;
  readonly #opens: Watch;

  constructor(loop: IoLoop, { masterFd, opensFd }: EndOf<"pty">, listener: HostSideListener) {
    this.#masterFd = masterFd;
    this.link = new Link(loop, masterFd, masterFd, listener);
    this.link.outputOpen = !this.#hangs;
    this.#opens = loop.watch(opensFd, () => {
      drainInotify(opensFd);
      // It may be closed again already: then what was typed is still there.
      this.link.inputOpen = true;
      this.link.outputOpen = !this.#hangs;
      listener.arrived();
    });
  }

  resume(): void {
    this.#opens.set(EpollEvent.IN);
  }

  pause(): void {
    this.#opens.set(0);
  }

  /** The next program finds the terminal as the first one did, whatever the last one has made of it. */
  ended(): void {
    if (this.#hangs) makeTerminalRaw(this.#masterFd);
  }

  get #hangs(): boolean {
    return (pollNow(this.#masterFd, 0) & PollEvent.HUP) !== 0;
  }
}

/** A listening socket. A client that comes while another is there takes its place, so that a stuck one locks nobody out. */
class SocketSide implements HostSide {
  link: Link | undefined;
  readonly #loop: IoLoop;
  readonly #name: string;
  readonly #listenFd: number;
  readonly #ring: OutputRing;
  readonly #listener: HostSideListener;
  readonly #clients: Watch;

  constructor(loop: IoLoop, name: string, { listenFd }: EndOf<"socket">, ring: OutputRing, listener: HostSideListener) {
    this.#loop = loop;
    this.#name = name;
    this.#listenFd = listenFd;
    this.#ring = ring;
    this.#listener = listener;
    this.#clients = loop.watch(listenFd, () => this.#accept());
    if (ring.clientFd >= 0) this.link = new Link(loop, ring.clientFd, ring.clientFd, listener);
  }

  resume(): void {
    this.#clients.set(EpollEvent.IN);
  }

  pause(): void {
    this.#clients.set(0);
  }

  /** A client that only sends no more still wants to see what the guest says. */
  ended(): void {
    const { link } = this;
    if (link === undefined || link.inputOpen) return;
    if (!link.outputOpen || (pollNow(link.outputFd, 0) & PollEvent.HUP) !== 0) this.#drop(link);
  }

  #accept(): void {
    try {
      const fd = accept(this.#listenFd);
      if (fd === undefined) return;
      const before = this.link;
      if (before !== undefined) {
        // What the other one has sent came first.
        this.#listener.readable();
        this.#drop(before);
      }
      this.#ring.clientFd = fd;
      this.link = new Link(this.#loop, fd, fd, this.#listener);
      this.#listener.arrived();
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      log.warn(`${this.#name}: ${error.message}`);
      this.#clients.set(0);
    }
  }

  #drop(link: Link): void {
    // Reading may have dropped it already.
    if (this.link !== link) return;
    link.close();
    libc.close(link.outputFd);
    this.#ring.clientFd = -1;
    this.link = undefined;
    // After too few descriptors there is one again.
    this.resume();
  }
}
