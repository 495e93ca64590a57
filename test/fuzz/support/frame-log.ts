import { isFrameLength, PREFIX_BYTES } from "../../../src/net/stream/protocol.ts";

/** Longer than a frame can be on a stream. */
export const MOST_FRAME_BYTES = 65_536;
const LOG_BYTES = 4 << 20;
const STAMP_BYTES = 4;

/** What the two sides of a carrier have said, and so what is to come of it. */
export class FrameLog {
  isStream = true;
  /** What the peer has said. */
  readonly #said = Buffer.alloc(LOG_BYTES);
  #saidBytes = 0;
  /** Where the next frame begins in it. */
  #next = 0;
  /** Bytes of messages that the carrier has yet to receive. */
  #messages: number[] = [];
  /** What has come to the peer of a frame. */
  readonly #came = Buffer.alloc(PREFIX_BYTES + 2 * MOST_FRAME_BYTES);
  #cameBytes = 0;
  #stamp = 0;
  #lastStamp = 0;
  readonly #frame = Buffer.alloc(PREFIX_BYTES + MOST_FRAME_BYTES);

  begin(isStream: boolean): void {
    this.isStream = isStream;
    this.#saidBytes = 0;
    this.#next = 0;
    this.#messages = [];
    this.#cameBytes = 0;
    this.#stamp = 0;
    this.#lastStamp = 0;
  }

  /** A frame for the peer to send, with its length before it on a stream. Valid until the next one. */
  frame(length: number, content: number): Uint8Array {
    const start = this.isStream ? PREFIX_BYTES : 0;
    const frame = this.#frame.subarray(0, start + length);
    frame.fill(content, start);
    if (this.isStream) frame.writeUInt32BE(length);
    return frame;
  }

  /** The peer has sent these bytes. */
  peerSent(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (!this.isStream) this.#messages.push(bytes.length);
    this.#said.set(bytes, this.#saidBytes);
    this.#saidBytes += bytes.length;
  }

  /** A room has been used up. @param hasEnded what the carrier says afterwards */
  checkReceived(frame: Uint8Array, room: number, hasEnded: boolean): void {
    const length = this.#nextLength();
    if (length === undefined) {
      if (hasEnded && frame.length === 0) return;
      throw new Error(`a frame of ${frame.length} bytes out of nothing`);
    }
    const start = this.#next + (this.isStream ? PREFIX_BYTES : 0);
    const wanted = this.isStream ? (length <= room ? length : 0) : Math.min(length, room);
    this.#next = start + length;
    if (!Buffer.from(frame.buffer, frame.byteOffset, frame.length).equals(this.#said.subarray(start, start + wanted)))
      throw new Error(`a frame of ${length} bytes is received as other ${frame.length} bytes`);
  }

  /** There was room for more. */
  checkAllReceived(hasEnded: boolean): void {
    const messages = this.#messages.length;
    if (!hasEnded && this.#nextLength() !== undefined) throw new Error(`a frame is left, of ${messages} messages`);
  }

  /** Stamps a frame that is to be sent. */
  write(frame: Uint8Array): void {
    const stamp = ++this.#stamp;
    frame.fill(stamp);
    if (frame.length >= STAMP_BYTES) Buffer.from(frame.buffer, frame.byteOffset, STAMP_BYTES).writeUInt32BE(stamp);
  }

  /** These bytes have come to the peer. */
  checkSent(bytes: Uint8Array): void {
    if (!this.isStream) {
      if (bytes.length > 0) this.#checkFrame(Buffer.from(bytes));
      return;
    }
    this.#came.set(bytes, this.#cameBytes);
    this.#cameBytes += bytes.length;
    let at = 0;
    while (this.#cameBytes - at >= PREFIX_BYTES) {
      const length = this.#came.readUInt32BE(at);
      if (!isFrameLength(length)) throw new Error(`a frame of ${length} bytes on the stream`);
      if (this.#cameBytes - at < PREFIX_BYTES + length) break;
      this.#checkFrame(this.#came.subarray(at + PREFIX_BYTES, at + PREFIX_BYTES + length));
      at += PREFIX_BYTES + length;
    }
    this.#came.copyWithin(0, at, this.#cameBytes);
    this.#cameBytes -= at;
  }

  /** Frames come once, in order, and as they were. */
  #checkFrame(frame: Buffer): void {
    if (frame.length < STAMP_BYTES) return;
    const stamp = frame.readUInt32BE(0);
    if (stamp <= this.#lastStamp || stamp > this.#stamp)
      throw new Error(`frame ${stamp} after ${this.#lastStamp}, of ${this.#stamp}`);
    this.#lastStamp = stamp;
    const wanted = this.#frame.subarray(0, frame.length).fill(stamp, STAMP_BYTES);
    if (!frame.subarray(STAMP_BYTES).equals(wanted.subarray(STAMP_BYTES))) throw new Error("a frame has changed");
  }

  /** Bytes of the next frame that has come whole. */
  #nextLength(): number | undefined {
    if (!this.isStream) return this.#messages.shift();
    const left = this.#saidBytes - this.#next;
    if (left < PREFIX_BYTES) return undefined;
    const length = this.#said.readUInt32BE(this.#next);
    return isFrameLength(length) && left >= PREFIX_BYTES + length ? length : undefined;
  }
}
