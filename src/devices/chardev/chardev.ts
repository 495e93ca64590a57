import { monotonicNs } from "../../host/clock.ts";
import { EpollEvent } from "../../host/epoll.ts";
import { Errno, errnoName } from "../../host/errno.ts";
import { drainEventFd, signalEventFd } from "../../host/eventfd.ts";
import { errno, libc } from "../../host/libc.ts";
import { PollEvent, pollNow, waitWritable } from "../../host/poll.ts";
import { createTimerFd, setTimerFd } from "../../host/timerfd.ts";
import { logger } from "../../threads/log.ts";
import type { IoClient, IoLoop, Watch } from "../io-loop.ts";
import { type HostSide, type HostSideListener, hostSide } from "./host-side.ts";
import { OutputRing, RING_BYTES } from "./output-ring.ts";
import type { ChardevWiring } from "./wiring.ts";

const log = logger("chardev");

/** At most this much at a time, so that a terminal that says it is writable takes it without blocking. */
const MAX_BYTES = 1024;
/** At most this much before the other devices of the thread have their turn. */
const PASS_BYTES = 65536;
/** A reader that takes nothing for this long while the ring is full counts as gone, until it takes something. */
const STALL_NS = 1e9;
/** What is left at the end may take as long in all, and a reader may pause as long. */
const LAST_WORDS_NS = 5e9;
const LAST_PAUSE_MS = 200;

/** A device's input, as its side of the I/O thread takes it. */
export interface InputTaker {
  /** Whether there is room. Where there is none, `Chardev.updateInput` is called when there may be some. */
  hasRoom(): boolean;
  /** Takes what a descriptor has. @returns what read(2) returns, or a negated errno */
  read(fd: number): number;
}

/**
 * A character device's connection with the host, on the I/O thread: gives the device's output to whoever is at the host's
 * end and takes input from there while the device has room. Nobody is waited for but by epoll.
 */
export class Chardev implements IoClient, HostSideListener {
  readonly #name: string;
  readonly #loop: IoLoop;
  readonly #ring: OutputRing;
  readonly #side: HostSide;
  readonly #doorbell: Watch;
  readonly #stallNs: number;
  #taker: InputTaker | undefined;
  #writer: (() => void) | undefined;
  /** The writer waits for room. */
  #waiting = false;
  #stalled = false;
  #patience: { readonly fd: number; readonly watch: Watch } | undefined;
  #told = false;

  /**
   * @param stallNs how long a reader may take nothing while its ring is full, before it counts as gone
   * @throws SysError
   */
  constructor(loop: IoLoop, wiring: ChardevWiring, stallNs = STALL_NS) {
    this.#stallNs = stallNs;
    this.#name = wiring.name;
    this.#loop = loop;
    this.#ring = new OutputRing(wiring.output);
    this.#side = hostSide(loop, wiring, this.#ring, this);
    this.#doorbell = loop.watch(this.#ring.doorbell, () => {
      drainEventFd(this.#ring.doorbell);
      this.#goOn();
    });
  }

  /** Gives input to a device: to one only. */
  feed(taker: InputTaker): void {
    this.#taker = taker;
  }

  /** Lets a device on this thread write by `take`. @param onRoom called when there is room again after it was short */
  writeFrom(onRoom: () => void): void {
    this.#writer = onRoom;
  }

  /**
   * Takes output of a device on this thread, to be given to the host by `pump`. A reader that is merely slow holds its writer
   * up; for one that has stopped, or where there is none, the oldest output gives way.
   * @param hva where it lies
   * @param length bytes
   * @returns how many were taken; when fewer, the writer is called when it can go on
   */
  take(hva: number, length: number): number {
    const { link } = this.#side;
    const held = link?.outputOpen === true && !this.#stalled;
    const count = Math.min(length, held ? this.#ring.room : RING_BYTES);
    this.#ring.append(hva, count);
    if (count < length && held) this.#waitForRoom();
    return count;
  }

  /** Gives output to the host, as far as it is taken without waiting. */
  pump(): void {
    this.#pump();
    if (this.#waiting && this.#mayGoOn) signalEventFd(this.#ring.doorbell);
  }

  /** Waits for input while the device has room for it. */
  updateInput(): void {
    this.#side.link?.wantInput(this.#taker?.hasRoom() === true);
  }

  arrived(): void {
    this.#stalled = false;
    this.updateInput();
    this.#goOn();
  }

  readable(): void {
    const { link } = this.#side;
    const fd = link?.inputFd;
    if (link === undefined || fd === undefined || !link.inputOpen) return;
    if (this.#taker?.hasRoom() !== true) {
      // Guests take buffers back that they have offered. What is wanted all the same would be reported for ever.
      link.wantInput(false);
      return;
    }
    const count = this.#taker.read(fd);
    if (count === 0 || (count < 0 && count !== -Errno.EAGAIN && count !== -Errno.EINTR)) {
      link.wantInput(false);
      link.inputOpen = false;
      this.#side.ended();
    }
    this.updateInput();
  }

  writable(): void {
    this.#side.link?.wantOutput(false);
    this.#goOn();
  }

  wake(): void {
    this.#side.resume();
    this.#doorbell.set(EpollEvent.IN);
    this.#patience?.watch.set(EpollEvent.IN);
    this.updateInput();
    this.#goOn();
  }

  /** What has not been taken stays where it is. */
  pause(): void {
    this.pump();
    this.#side.pause();
    this.#side.link?.wantInput(false);
    this.#side.link?.wantOutput(false);
    this.#doorbell.set(0);
    this.#patience?.watch.set(0);
  }

  /** Gives what is left to a reader that is there and takes it. */
  close(): void {
    const until = monotonicNs() + LAST_WORDS_NS;
    const { link } = this.#side;
    while (link?.outputOpen === true && this.#ring.refill() && monotonicNs() < until) {
      if (!waitWritable(link.outputFd, LAST_PAUSE_MS) && pollNow(link.outputFd, PollEvent.OUT) === 0) break;
      this.pump();
    }
    if (this.#patience !== undefined) libc.close(this.#patience.fd);
  }

  #pump(): void {
    const ring = this.#ring;
    const { link } = this.#side;
    let allowance = PASS_BYTES;
    while (link?.outputOpen === true && ring.refill()) {
      if (allowance <= 0) {
        signalEventFd(ring.doorbell);
        break;
      }
      const result = this.#write(link.outputFd);
      if (result === "blocked") {
        link.wantOutput(true);
        break;
      }
      if (result === "over") {
        link.outputOpen = false;
        link.wantOutput(false);
        this.#side.ended();
      } else {
        allowance -= result;
        this.#stalled = false;
      }
    }
    if (ring.lost > 0 && !this.#told) {
      this.#told = true;
      log.info(`${this.#name}: output that nobody took in time is lost`);
    }
  }

  #goOn(): void {
    this.#pump();
    if (!this.#waiting || !this.#mayGoOn) return;
    this.#waiting = false;
    this.#writer?.();
  }

  /** Whether `take` takes something. */
  get #mayGoOn(): boolean {
    return this.#ring.room > 0 || this.#side.link?.outputOpen !== true || this.#stalled;
  }

  #waitForRoom(): void {
    this.#waiting = true;
    if (this.#patience === undefined) {
      const fd = createTimerFd();
      const watch = this.#loop.watch(fd, () => {
        drainEventFd(fd);
        if (!this.#waiting) return;
        this.#stalled = true;
        this.#goOn();
      });
      watch.set(EpollEvent.IN);
      this.#patience = { fd, watch };
    }
    setTimerFd(this.#patience.fd, monotonicNs() + this.#stallNs);
  }

  /** @returns how many bytes are done with */
  #write(fd: number): number | "blocked" | "over" {
    const ring = this.#ring;
    const ready = pollNow(fd, PollEvent.OUT);
    if ((ready & (PollEvent.HUP | PollEvent.ERR)) !== 0) return "over";
    if (ready === 0) return "blocked";
    const length = Math.min(ring.pendingBytes, MAX_BYTES);
    const written = libc.write(fd, ring.pendingAddress, length);
    if (written > 0) {
      ring.consume(written);
      return written;
    }
    const error = written < 0 ? errno() : Errno.EIO;
    switch (error) {
      case Errno.EAGAIN:
        return "blocked";
      case Errno.EINTR:
        return 0;
      case Errno.EPIPE:
        return "over";
      default:
        // A full disk may have room again.
        if (!this.#told) log.warn(`${this.#name}: output is lost: ${errnoName(error)}`);
        this.#told = true;
        ring.consume(length);
        return length;
    }
  }
}
