import { iovecTable } from "../../../host/iovec.ts";
import { libc } from "../../../host/libc.ts";
import { mapAnonymous, munmap } from "../../../host/mmap.ts";
import { type Payload, type VsockHeader, vsockHeader } from "../../../vsock/packet.ts";
import { NO_CHAIN } from "../queue/queue.ts";
import type { BackEndQueue } from "../transport/back-end.ts";

const HEADER_BYTES = vsockHeader.size;

/** The driver's packets. */
export class TransmitRing implements Payload {
  readonly #queue: BackEndQueue;
  readonly #memory = mapAnonymous(HEADER_BYTES);
  readonly #header = vsockHeader.at(this.#memory);
  readonly #take: (packet: VsockHeader, payload: Payload) => void;

  /** @param take given each packet: a copy of its header, and its payload where it lies */
  constructor(queue: BackEndQueue, take: (packet: VsockHeader, payload: Payload) => void) {
    this.#queue = queue;
    this.#take = take;
  }

  /** Takes the packets that there are. @returns whether to come back for more, after the other devices of the thread */
  drain(): boolean {
    const queue = this.#queue;
    const { ring } = queue;
    if (ring === undefined) return false;
    ring.disableNotifications();
    for (let chains = 0; chains < ring.size; chains++) {
      const head = queue.take();
      if (head === NO_CHAIN) {
        queue.publish();
        if (!queue.enableNotifications()) return false;
        continue;
      }
      if (ring.chain.writableBytes === 0 && this.#copyHeader()) this.#take(this.#header, this);
      ring.complete(head, 0);
    }
    queue.publish();
    return true;
  }

  /** Gives back what was mapped here. */
  close(): void {
    munmap(this.#memory.address, this.#memory.size);
  }

  get bytes(): number {
    return (this.#queue.ring?.chain.readableBytes ?? 0) - HEADER_BYTES;
  }

  iovecs(table: Uint32Array, skip: number, limit: number): number {
    return this.#queue.ring?.chain.readableIovecs(table, HEADER_BYTES + skip, limit) ?? 0;
  }

  /** Copies the header out of the guest's reach. @returns whether there is one */
  #copyHeader(): boolean {
    const chain = this.#queue.ring?.chain;
    if (chain === undefined || chain.readableBytes < HEADER_BYTES) return false;
    const { u32 } = iovecTable();
    const count = chain.readableIovecs(u32, 0, HEADER_BYTES);
    let to = this.#memory.address;
    for (let i = 0; i < count; i++) {
      const length = u32[4 * i + 2] ?? 0;
      libc.memmove(to, (u32[4 * i] ?? 0) + (u32[4 * i + 1] ?? 0) * 0x1_0000_0000, length);
      to += length;
    }
    return true;
  }
}
