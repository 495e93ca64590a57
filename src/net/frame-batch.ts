import { iovec, MAX_IOVECS } from "../host/iovec.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapAnonymous } from "../host/mmap.ts";

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

  /** The element of the table at which the next frame's iovecs start. */
  get next(): number {
    return this.#taken + 1;
  }

  /** Whether another frame of so many iovecs can be added. */
  fits(segments: number): boolean {
    return this.count < MAX_FRAMES && this.#taken + 1 + segments <= MAX_FRAMES + MAX_IOVECS && segments <= MAX_IOVECS;
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

  clear(): void {
    this.count = 0;
    this.#taken = 0;
  }
}
