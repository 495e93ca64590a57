import { libc } from "../../host/libc.ts";
import type { FrameBatch } from "../frame-batch.ts";
import type { FrameCarrier } from "../frame-carrier.ts";
import { StreamReceiver } from "./receiver.ts";
import { StreamSender } from "./sender.ts";

const SHUT_RDWR = 2;

/** Frames on a stream socket, as passt has them. */
export class StreamCarrier implements FrameCarrier {
  readonly fd: number;
  readonly hasHeader = false;
  readonly #receiver: StreamReceiver;
  readonly #sender: StreamSender;
  #ended = false;

  /** @param fd a connected stream socket, non-blocking; stays the caller's */
  constructor(fd: number) {
    this.fd = fd;
    this.#receiver = new StreamReceiver(fd);
    this.#sender = new StreamSender(fd);
  }

  get ended(): boolean {
    return this.#ended;
  }

  receive(rooms: FrameBatch): number {
    const done = this.#ended ? 0 : this.#receiver.receive(rooms);
    if (this.#receiver.ended) this.#end();
    return done;
  }

  send(frames: FrameBatch): number {
    const done = this.#sender.send(frames);
    if (this.#sender.ended) this.#end();
    return done;
  }

  /** The other side is to know: a program that waits for frames ends then. */
  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#sender.ended = true;
    libc.shutdown(this.fd, SHUT_RDWR);
  }

  /** Frames have no headers that could tell of anything unfinished. */
  setOffloads(): void {}

  /** Every driver understands frames without headers. */
  driverLeft(): void {}

  /** There is one pair of queues, always in use. */
  setActive(): void {}

  close(): void {
    this.#receiver.close();
    this.#sender.close();
  }
}
