import { type VsockHeader, VsockOp } from "./packet.ts";
import { BUFFER_BYTES } from "./stream-buffer.ts";

/** Answers that may wait for buffers of the driver (virtio.md, 5.3). */
const MAX_RESETS = 256;
const WORDS = 3;

/** Resets that answer packets of no connection. When too many wait, the rest is dropped: a driver does not count on them. */
export class StrayResets {
  readonly #ring = new Uint32Array(MAX_RESETS * WORDS);
  #first = 0;
  #count = 0;

  push(hostPort: number, guestPort: number, type: number): void {
    if (this.#count === MAX_RESETS) return;
    const at = ((this.#first + this.#count++) % MAX_RESETS) * WORDS;
    this.#ring[at] = hostPort;
    this.#ring[at + 1] = guestPort;
    this.#ring[at + 2] = type;
  }

  /** Makes a header that of the first. @returns whether there is one */
  fill(header: VsockHeader): boolean {
    if (this.#count === 0) return false;
    const at = this.#first * WORDS;
    header.src_port = this.#ring[at] ?? 0;
    header.dst_port = this.#ring[at + 1] ?? 0;
    header.type = this.#ring[at + 2] ?? 0;
    header.op = VsockOp.RST;
    header.len = 0;
    header.flags = 0;
    header.buf_alloc = BUFFER_BYTES;
    header.fwd_cnt = 0;
    return true;
  }

  /** Takes the first out. */
  shift(): void {
    this.#first = (this.#first + 1) % MAX_RESETS;
    this.#count--;
  }
}
