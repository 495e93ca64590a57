import { iovec, MAX_IOVECS } from "../host/iovec.ts";
import { libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapAnonymous, munmap } from "../host/mmap.ts";

/** The most frames that go to the host in one go. */
const MAX_FRAMES = 64;

/**
 * Frames on their way between guest memory and a carrier, described by iovecs in mapped memory: what they consist of never
 * passes through JavaScript. One object is filled over and over again.
 */
export class FrameBatch {
  /** Frames that a batch can hold. */
  static readonly maxFrames = MAX_FRAMES;
  /** Frames in the batch. */
  count = 0;
  /** Host address of each frame's first iovec. The 16 bytes before it are the carrier's, for what it puts before frames. */
  readonly addresses = new Float64Array(MAX_FRAMES);
  /** How many iovecs each frame has. */
  readonly segments = new Uint32Array(MAX_FRAMES);
  /**
   * Bytes of each frame. Before it is sent, what there is of it; before one is received, the room for it. Afterwards what was
   * moved, 0 for a frame that was dropped.
   */
  readonly lengths = new Uint32Array(MAX_FRAMES);
  /** Where `describe` writes iovecs, as 32-bit words. */
  readonly table: Uint32Array;
  readonly #iovecs: MemoryBlock = mapAnonymous((MAX_FRAMES + MAX_IOVECS) * iovec.size);
  /** Elements of the table that are taken. */
  #taken = 0;

  constructor() {
    this.table = this.#iovecs.u32;
  }

  /** Gives back its memory. It must not be used any more. */
  close(): void {
    munmap(this.#iovecs.address, this.#iovecs.size);
  }

  /** The element of the table at which the next frame's iovecs start. */
  get next(): number {
    return this.#taken + 1;
  }

  /** Whether another frame of so many iovecs can be added. */
  fits(segments: number): boolean {
    return this.count < MAX_FRAMES && this.#taken + 1 + segments <= MAX_FRAMES + MAX_IOVECS && segments <= MAX_IOVECS;
  }

  /** The element of the table at which a frame's iovecs start. */
  elementOf(frame: number): number {
    return ((this.addresses[frame] ?? 0) - this.#iovecs.address) / iovec.size;
  }

  /** Adds a frame whose iovecs have been written to the table from `next` on. */
  add(segments: number, bytes: number): void {
    const { count } = this;
    this.addresses[count] = this.#iovecs.address + this.next * iovec.size;
    this.segments[count] = segments;
    this.lengths[count] = bytes;
    this.count = count + 1;
    this.#taken += 1 + segments;
  }

  /**
   * Copies the first bytes of a frame to the room of another, for the few that came in out of order.
   * @returns whether they fit there
   */
  move(from: number, to: number, bytes: number): boolean {
    let [source, sourceAt] = [this.elementOf(from), 0];
    let [target, targetAt] = [this.elementOf(to), 0];
    const end = target + (this.segments[to] ?? 0);
    for (let left = bytes; left > 0; ) {
      if (target === end) return false;
      const part = Math.min(left, this.#length(source) - sourceAt, this.#length(target) - targetAt);
      libc.memcpy(this.#base(target) + targetAt, this.#base(source) + sourceAt, part);
      left -= part;
      sourceAt += part;
      targetAt += part;
      if (sourceAt === this.#length(source)) [source, sourceAt] = [source + 1, 0];
      if (targetAt === this.#length(target)) [target, targetAt] = [target + 1, 0];
    }
    return true;
  }

  clear(): void {
    this.count = 0;
    this.#taken = 0;
  }

  #base(element: number): number {
    return (this.table[element * 4] ?? 0) + (this.table[element * 4 + 1] ?? 0) * 0x1_0000_0000;
  }

  #length(element: number): number {
    return this.table[element * 4 + 2] ?? 0;
  }
}
