import { signalEventFd } from "../../host/eventfd.ts";
import { libc } from "../../host/libc.ts";
import { bytes, i32, struct, u32, u64 } from "../../host/struct.ts";
import { blockAt } from "../../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../../threads/state-block.ts";
import type { ByteSink } from "../byte-sink.ts";
import type { OutputWiring } from "./wiring.ts";

/** Output that nobody has taken yet. A power of two. */
export const RING_BYTES = 1 << 20;
const MASK = RING_BYTES - 1;
/** What is given to the host at a time. */
const PENDING_BYTES = 4096;

const ringState = struct("output ring", {
  /** Where the oldest byte is, and how many there are. */
  head: u32,
  count: u32,
  /** Whether the reader sleeps until the doorbell rings. */
  armed: u32,
  /** The part of `pending` that the host has not taken yet: only the reader's. */
  from: u32,
  to: u32,
  /** The client of a socket, -1 without one. Here because clients outlive the I/O thread's jobs: only the reader's. */
  clientFd: i32,
  /** Bytes that gave way to newer ones. */
  lost: u64,
  pending: bytes(PENDING_BYTES),
  data: bytes(RING_BYTES),
});

/**
 * Output of a character device on its way to the host: vCPUs and I/O threads write, the I/O thread that serves the host's end
 * reads. Writing never waits: where nobody reads, the newest MiB is kept. Lives longer than a VM's life, so that output
 * from before a reboot still finds its reader.
 */
export class OutputRing implements ByteSink {
  /** Bytes of shared memory. Pages that no output reaches take none. */
  static readonly blockSize = StateBlock.sizeOf(ringState);
  readonly doorbell: number;
  readonly #block: StateBlockOf<typeof ringState>;
  readonly #data: number;
  readonly #pending: number;

  constructor({ block, doorbell }: OutputWiring) {
    const memory = blockAt(block);
    this.#block = new StateBlock(ringState, memory);
    this.doorbell = doorbell;
    this.#data = memory.address + memory.size - ringState.size + ringState.offsets.data;
    this.#pending = memory.address + memory.size - ringState.size + ringState.offsets.pending;
  }

  /** For new memory. */
  reset(): void {
    this.clientFd = -1;
  }

  get clientFd(): number {
    return this.#block.state.clientFd;
  }

  set clientFd(fd: number) {
    this.#block.state.clientFd = fd;
  }

  /** Bytes that can be written before the oldest ones give way. */
  get room(): number {
    return RING_BYTES - this.#block.state.count;
  }

  /** Bytes that gave way to newer ones. */
  get lost(): number {
    return this.#block.state.lost;
  }

  write(byte: number): void {
    const { lock, state } = this.#block;
    lock.acquire();
    this.#makeRoom(1);
    state.data[(state.head + state.count) & MASK] = byte;
    state.count++;
    const armed = state.armed !== 0;
    state.armed = 0;
    lock.release();
    if (armed) signalEventFd(this.doorbell);
  }

  /**
   * Writes what lies in memory. For the thread that reads: it gets no wake-up.
   * @param hva where
   * @param length bytes, at most RING_BYTES
   */
  append(hva: number, length: number): void {
    const { lock, state } = this.#block;
    lock.acquire();
    this.#makeRoom(length);
    const at = (state.head + state.count) & MASK;
    const first = Math.min(length, RING_BYTES - at);
    libc.memcpy(this.#data + at, hva, first);
    if (first < length) libc.memcpy(this.#data, hva + first, length - first);
    state.count += length;
    lock.release();
  }

  /** Address of the oldest bytes, `pendingBytes` of them. They are taken out of the ring already. */
  get pendingAddress(): number {
    return this.#pending + this.#block.state.from;
  }

  get pendingBytes(): number {
    const { from, to } = this.#block.state;
    return to - from;
  }

  /** The host has taken the first `count` pending bytes. */
  consume(count: number): void {
    this.#block.state.from += count;
  }

  /** Takes the next bytes out of the ring where none is pending. @returns false when there are none: the doorbell will ring */
  refill(): boolean {
    const { lock, state } = this.#block;
    if (state.from < state.to) return true;
    lock.acquire();
    const count = Math.min(state.count, PENDING_BYTES, RING_BYTES - state.head);
    if (count > 0) libc.memcpy(this.#pending, this.#data + state.head, count);
    state.count -= count;
    // An empty ring starts over, so that little output takes little memory.
    state.head = state.count === 0 ? 0 : (state.head + count) & MASK;
    state.armed = count === 0 ? 1 : 0;
    lock.release();
    state.from = 0;
    state.to = count;
    return count > 0;
  }

  #makeRoom(length: number): void {
    const { state } = this.#block;
    const excess = state.count + length - RING_BYTES;
    if (excess <= 0) return;
    state.head = (state.head + excess) & MASK;
    state.count -= excess;
    state.lost += excess;
  }
}
