import { check, libc } from "../../host/libc.ts";
import type { MemoryBlock } from "../../host/memory-block.ts";
import { Lock } from "../../threads/lock.ts";
import { KVM_IRQ_ROUTING_MSI, Kvm, kvmIrqRoutingEntry } from "./abi.ts";

/** Bytes before the kernel's table: the lock word and padding. */
const TABLE_OFFSET = 8;
const HEADER = 8;
const ENTRY_WORDS = kvmIrqRoutingEntry.size / 4;
const WORD = {
  gsi: kvmIrqRoutingEntry.offsets.gsi / 4,
  type: kvmIrqRoutingEntry.offsets.type / 4,
  addressLo: kvmIrqRoutingEntry.offsets.address_lo / 4,
  addressHi: kvmIrqRoutingEntry.offsets.address_hi / 4,
  data: kvmIrqRoutingEntry.offsets.data / 4,
};

/**
 * The VM's interrupt routing table. KVM takes it only as a whole, so it lives in shared memory in the kernel's own format:
 * whichever thread changes a route does so under the table's lock and hands the table over.
 */
export class GsiRouting {
  readonly #vmFd: number;
  readonly #lock: Lock;
  readonly #words: Uint32Array;
  readonly #address: number;
  readonly #capacity: number;

  /** @param block `GsiRouting.sizeOf(capacity)` bytes of the shared arena */
  constructor(vmFd: number, block: MemoryBlock) {
    this.#vmFd = vmFd;
    this.#lock = new Lock(block.i32, block.address);
    this.#address = block.address + TABLE_OFFSET;
    this.#words = block.u32.subarray(TABLE_OFFSET / 4);
    this.#capacity = Math.floor((block.size - TABLE_OFFSET - HEADER) / kvmIrqRoutingEntry.size);
  }

  /** Bytes for a table of `capacity` routes. */
  static sizeOf(capacity: number): number {
    return TABLE_OFFSET + HEADER + capacity * kvmIrqRoutingEntry.size;
  }

  /** Routes `gsi` to an MSI message, in force on return. @throws SysError, RangeError when the table is full */
  route(gsi: number, addressLo: number, addressHi: number, data: number): void {
    const words = this.#words;
    this.#lock.acquire();
    try {
      let at = this.#find(gsi);
      if (at < 0) {
        const count = words[0] ?? 0;
        if (count >= this.#capacity) throw new RangeError(`interrupt routing table is full at ${count} routes`);
        at = (HEADER / 4 + count * ENTRY_WORDS) | 0;
        words[0] = count + 1;
        words[at + WORD.gsi] = gsi;
        words[at + WORD.type] = KVM_IRQ_ROUTING_MSI;
      } else if (
        words[at + WORD.addressLo] === addressLo >>> 0 &&
        words[at + WORD.addressHi] === addressHi >>> 0 &&
        words[at + WORD.data] === data >>> 0
      )
        return;
      words[at + WORD.addressLo] = addressLo;
      words[at + WORD.addressHi] = addressHi;
      words[at + WORD.data] = data;
      this.#submit();
    } finally {
      this.#lock.release();
    }
  }

  /** Removes the route of `gsi`, in force on return. @throws SysError */
  unroute(gsi: number): void {
    const words = this.#words;
    this.#lock.acquire();
    try {
      const at = this.#find(gsi);
      if (at < 0) return;
      const last = HEADER / 4 + ((words[0] ?? 0) - 1) * ENTRY_WORDS;
      words.copyWithin(at, last, last + ENTRY_WORDS);
      words[0] = (words[0] ?? 0) - 1;
      this.#submit();
    } finally {
      this.#lock.release();
    }
  }

  /** Word index of the GSI's entry, or -1. */
  #find(gsi: number): number {
    const count = this.#words[0] ?? 0;
    for (let i = 0; i < count; i++) {
      const at = HEADER / 4 + i * ENTRY_WORDS;
      if (this.#words[at + WORD.gsi] === gsi) return at;
    }
    return -1;
  }

  #submit(): void {
    check(libc.ioctl(this.#vmFd, Kvm.SET_GSI_ROUTING, this.#address), "KVM_SET_GSI_ROUTING");
  }
}
