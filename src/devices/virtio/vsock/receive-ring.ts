import { iovecTable, setIovec } from "../../../host/iovec.ts";
import { errno, libc } from "../../../host/libc.ts";
import type { MemoryBlock } from "../../../host/memory-block.ts";
import { type GuestReceiver, NO_BUFFER, type VsockHeader, vsockHeader } from "../../../vsock/packet.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";

const HEADER_BYTES = vsockHeader.size;
/** Buffers that one read fills: as many as it takes of Linux', which have 4 KiB, to hold the largest packet. */
const BATCH = 17;

/** The driver's receive buffers, filled in the order in which it offers them. */
export class ReceiveRing implements GuestReceiver {
  readonly #queue: BackEndQueue;
  readonly #header: MemoryBlock;
  /** The chains that are held: their heads, where their headers go, and the payload they have room for. */
  readonly #heads = new Int32Array(BATCH);
  readonly #addresses = new Float64Array(BATCH);
  readonly #room = new Float64Array(BATCH);
  #held = 0;

  /** @param header the memory of the header that `send` and `fill` are given */
  constructor(queue: BackEndQueue, header: MemoryBlock) {
    this.#queue = queue;
    this.#header = header;
  }

  send(_header: VsockHeader): boolean {
    this.#held = 0;
    if (!this.#hold(0)) return false;
    this.#complete(0, 0);
    return true;
  }

  fill(header: VsockHeader, fd: number, limit: number): number {
    const table = iovecTable();
    let elements = 0;
    let left = limit;
    this.#held = 0;
    while (left > 0 && this.#held < BATCH && this.#hold(1)) {
      elements = this.#describe(table.u32, elements, left);
      left -= Math.min(left, this.#room[this.#held - 1] ?? 0);
    }
    if (elements === 0) return NO_BUFFER;
    const count = libc.readv(fd, table.address, elements);
    const result = count < 0 ? -errno() : count;
    let used = 0;
    for (let bytes = Math.max(0, count); bytes > 0; used++) {
      const part = Math.min(bytes, this.#room[used] ?? 0);
      header.len = part;
      this.#complete(used, part);
      bytes -= part;
    }
    while (this.#held > used) this.#queue.ring?.unpop(this.#heads[--this.#held] ?? 0);
    // The guest takes these while the next are read.
    this.#queue.publish();
    return result;
  }

  /**
   * Takes one more chain. A chain that cannot hold a packet goes back empty, in its turn.
   * @param payload how many bytes it must have room for
   */
  #hold(payload: 0 | 1): boolean {
    const { ring } = this.#queue;
    if (ring === undefined) return false;
    for (let tries = 0; tries < ring.size; tries++) {
      const head = this.#queue.take(this.#held);
      if (head === NO_CHAIN) return false;
      const { chain } = ring;
      const room = chain.writableBytes - HEADER_BYTES;
      if (chain.readableCount === 0 && (chain.lengths[0] ?? 0) >= HEADER_BYTES && room >= payload) {
        const slot = this.#held++;
        this.#heads[slot] = head;
        this.#addresses[slot] = chain.hvas[0] ?? 0;
        this.#room[slot] = room;
        return true;
      }
      if (this.#held > 0) {
        ring.unpop(head);
        return false;
      }
      ring.complete(head, 0);
    }
    return false;
  }

  /** Adds the payload part of the chain that was taken last to an iovec array. @returns its new number of elements */
  #describe(table: Uint32Array, elements: number, limit: number): number {
    const chain = this.#queue.ring?.chain;
    if (chain === undefined) return elements;
    const capacity = table.length >>> 2;
    let next = elements;
    let left = limit;
    let skip = HEADER_BYTES;
    for (let i = 0; i < chain.count && left > 0 && next < capacity; i++) {
      const bytes = Math.min((chain.lengths[i] ?? 0) - skip, left);
      if (bytes > 0) setIovec(table, next++, (chain.hvas[i] ?? 0) + skip, bytes);
      left -= bytes;
      skip = 0;
    }
    return next;
  }

  /** Gives a chain back with the header and so much payload. */
  #complete(slot: number, payload: number): void {
    libc.memmove(this.#addresses[slot] ?? 0, this.#header.address, HEADER_BYTES);
    this.#queue.ring?.complete(this.#heads[slot] ?? 0, HEADER_BYTES + payload);
  }
}
