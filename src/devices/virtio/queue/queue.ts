import { MemoryBlock } from "../../../host/memory-block.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { DescriptorChain } from "./descriptor-chain.ts";
import {
  AVAIL_NO_INTERRUPT,
  DESCRIPTOR_ALIGN,
  DEVICE_ALIGN,
  DescriptorFlag,
  DRIVER_ALIGN,
  descriptorAreaBytes,
  deviceAreaBytes,
  driverAreaBytes,
  isQueueSize,
  USED_NO_NOTIFY,
  virtqDescriptor,
} from "./layout.ts";
import { type QueueDefect, QueueError } from "./queue-error.ts";

/** What the driver set up before it enabled a queue. Addresses are guest physical. */
export interface QueueSetup {
  /** The queue's number in its device. */
  readonly index: number;
  /** Descriptors: a power of two, 1 to 32768. */
  readonly size: number;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  readonly eventIdx: boolean;
}

/** `Queue.pop`: no chain is available. */
export const NO_CHAIN = -1;

/** How many 16-bit words of a device's state hold the positions of one queue. */
export const POSITION_WORDS = 2;

/** The words of a queue's positions. All zero for a queue that was just enabled. */
const NEXT_AVAIL = 0;
const NEXT_USED = 1;

/** A chain's bytes may not exceed this (VIRTIO 1.3, 2.7.5.2). */
const MAX_CHAIN_BYTES = 0x1_0000_0000;

/**
 * The device's side of a split virtqueue (VIRTIO 1.3, 2.7). Used by one thread at a time. Where it stands in the rings is
 * kept in the device's state, so that a new `Queue` over the same words goes on where the last one stopped.
 *
 * A back end's pass: `pop` until `NO_CHAIN`, `complete` what is done, `publish` once, interrupt if it says so; before
 * going to sleep, `enableNotifications` and go on if it finds more.
 */
export class Queue {
  readonly index: number;
  readonly size: number;
  /** The chain that the last `pop` took. */
  readonly chain: DescriptorChain;
  readonly #memory: GuestMemory;
  readonly #eventIdx: boolean;
  readonly #positions: Uint16Array;
  /** Descriptor table as 32-bit words, four a descriptor. */
  readonly #descriptors: Uint32Array;
  /** flags, idx, ring[size], used_event. */
  readonly #avail: Uint16Array;
  /** flags, idx, and behind the ring avail_event. */
  readonly #used16: Uint16Array;
  /** flags and idx in word 0, then id and len of each element. */
  readonly #used32: Uint32Array;
  /** 1 for every head that was popped and not completed. */
  readonly #inFlight: Uint8Array;
  readonly #mask: number;
  #inFlightCount = 0;
  /** The available index as last seen. */
  #availSeen: number;
  /** NEXT_USED ahead of what is published. */
  #nextUsed: number;

  /**
   * @param memory guest memory as this thread sees it
   * @param positions `POSITION_WORDS` words of the device's state
   * @throws QueueError when a ring is not in RAM or not aligned, or the size is none
   */
  constructor(memory: GuestMemory, setup: QueueSetup, positions: Uint16Array) {
    const { index, size, eventIdx } = setup;
    this.index = index;
    this.size = size;
    if (!isQueueSize(size)) throw this.#error("queue size");
    this.#mask = size - 1;
    this.#memory = memory;
    this.#eventIdx = eventIdx;
    this.#positions = positions;
    this.chain = new DescriptorChain(memory, size);
    this.#inFlight = new Uint8Array(size);
    const descriptors = this.#area(setup.descriptorArea, descriptorAreaBytes(size), DESCRIPTOR_ALIGN);
    this.#descriptors = descriptors.block.u32.subarray(descriptors.lead / 4);
    const driver = this.#area(setup.driverArea, driverAreaBytes(size, eventIdx), DRIVER_ALIGN);
    this.#avail = driver.block.u16.subarray(driver.lead / 2);
    const device = this.#area(setup.deviceArea, deviceAreaBytes(size, eventIdx), DEVICE_ALIGN);
    this.#used16 = device.block.u16.subarray(device.lead / 2);
    this.#used32 = device.block.u32.subarray(device.lead / 4);
    this.#availSeen = positions[NEXT_AVAIL] ?? 0;
    this.#nextUsed = positions[NEXT_USED] ?? 0;
  }

  /** Chains that were popped and not completed. */
  get inFlight(): number {
    return this.#inFlightCount;
  }

  /**
   * Takes the next available chain into `chain`.
   * @returns its head, or `NO_CHAIN`
   * @throws QueueError with `head` when the chain is bad: it counts as taken; without when the ring is corrupt
   */
  pop(): number {
    const positions = this.#positions;
    const next = positions[NEXT_AVAIL] ?? 0;
    if (next === this.#availSeen && this.#look(next) === 0) return NO_CHAIN;
    const head = this.#avail[2 + (next & this.#mask)] ?? 0;
    if (head >= this.size) throw this.#error("head beyond the table");
    if (this.#inFlight[head] !== 0) throw this.#error("head in flight");
    this.#inFlight[head] = 1;
    this.#inFlightCount++;
    positions[NEXT_AVAIL] = next + 1;
    this.#walk(head);
    return head;
  }

  /**
   * Takes the last `pop` back: its chain is available again. For when there turned out to be nothing to do with it.
   * @param head what that `pop` returned
   */
  unpop(head: number): void {
    if (this.#inFlight[head] !== 1) throw new RangeError(`virtqueue ${this.index}: chain ${head} is not in flight`);
    this.#inFlight[head] = 0;
    this.#inFlightCount--;
    this.#positions[NEXT_AVAIL] = (this.#positions[NEXT_AVAIL] ?? 0) - 1;
  }

  /**
   * Gives a chain back. The driver sees it after the next `publish`.
   * @param head what `pop` returned or `QueueError.head`
   * @param written bytes written into the chain's device-writable part
   */
  complete(head: number, written: number): void {
    if (this.#inFlight[head] !== 1) throw new RangeError(`virtqueue ${this.index}: chain ${head} is not in flight`);
    this.#inFlight[head] = 0;
    this.#inFlightCount--;
    const next = this.#nextUsed;
    const at = 1 + (next & this.#mask) * 2;
    this.#used32[at] = head;
    this.#used32[at + 1] = written;
    this.#nextUsed = (next + 1) & 0xffff;
  }

  /**
   * Makes all completed chains visible to the driver at once.
   * @returns whether the driver wants an interrupt for them
   */
  publish(): boolean {
    const before = this.#positions[NEXT_USED] ?? 0;
    const next = this.#nextUsed;
    if (next === before) return false;
    this.#positions[NEXT_USED] = next;
    // Sequentially consistent, so that the elements are visible before the index, and the index before the driver's wish
    // for interrupts is read (2.7.7.1, 2.7.8.2).
    Atomics.store(this.#used16, 1, next);
    if (!this.#eventIdx) return (Atomics.load(this.#avail, 0) & AVAIL_NO_INTERRUPT) === 0;
    const usedEvent = Atomics.load(this.#avail, 2 + this.size);
    return ((next - usedEvent - 1) & 0xffff) < ((next - before) & 0xffff);
  }

  /** Whether the driver has made chains available that were not popped. */
  hasChains(): boolean {
    return Atomics.load(this.#avail, 1) !== this.#positions[NEXT_AVAIL];
  }

  /**
   * Asks the driver to notify about the next chain it makes available. To be called before waiting for a notification.
   * @returns whether chains are available already, for which no notification may come
   * @throws QueueError when the available index is corrupt
   */
  enableNotifications(): boolean {
    const next = this.#positions[NEXT_AVAIL] ?? 0;
    if (this.#eventIdx) Atomics.store(this.#used16, 2 + this.size * 4, next);
    else Atomics.store(this.#used16, 0, 0);
    return this.#look(next) !== 0;
  }

  /**
   * Tells the driver that it need not notify until `enableNotifications`. With EVENT_IDX that is so anyway, once the driver is
   * past the chain that was asked for.
   */
  disableNotifications(): void {
    if (!this.#eventIdx) Atomics.store(this.#used16, 0, USED_NO_NOTIFY);
  }

  /** How many chains are available beyond `next`, freshly read. */
  #look(next: number): number {
    const seen = Atomics.load(this.#avail, 1);
    const available = (seen - next) & 0xffff;
    if (available > this.size) throw this.#error("available index");
    this.#availSeen = seen;
    return available;
  }

  /** Each descriptor is read once and then judged: the guest may change it at any time. */
  #walk(head: number): void {
    const descriptors = this.#descriptors;
    this.chain.begin(head);
    let at = head * 4;
    for (let visited = 1; ; visited++) {
      if (visited > this.size) throw this.#error("chain too long", head);
      const address = (descriptors[at] ?? 0) + (descriptors[at + 1] ?? 0) * 0x1_0000_0000;
      const length = descriptors[at + 2] ?? 0;
      const flagsAndNext = descriptors[at + 3] ?? 0;
      if ((flagsAndNext & DescriptorFlag.INDIRECT) !== 0) {
        if ((flagsAndNext & DescriptorFlag.NEXT) !== 0) throw this.#error("indirect with next", head);
        this.#walkIndirect(address, length, head);
        return;
      }
      this.#append(address, length, (flagsAndNext & DescriptorFlag.WRITE) !== 0, head);
      if ((flagsAndNext & DescriptorFlag.NEXT) === 0) return;
      const next = flagsAndNext >>> 16;
      if (next >= this.size) throw this.#error("next beyond the table", head);
      at = next * 4;
    }
  }

  #walkIndirect(table: number, bytes: number, head: number): void {
    const memory = this.#memory;
    if (bytes === 0 || bytes % virtqDescriptor.size !== 0) throw this.#error("indirect table length", head);
    if (!memory.contains(table, bytes)) throw this.#error("indirect table outside RAM", head);
    const entries = bytes / virtqDescriptor.size;
    const { start, view } = memory.window(table, bytes);
    let index = 0;
    for (let visited = 1; ; visited++) {
      if (visited > this.size) throw this.#error("chain too long", head);
      const at = table - start + index * virtqDescriptor.size;
      const address = view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
      const length = view.getUint32(at + 8, true);
      const flagsAndNext = view.getUint32(at + 12, true);
      if ((flagsAndNext & DescriptorFlag.INDIRECT) !== 0) throw this.#error("nested indirect table", head);
      this.#append(address, length, (flagsAndNext & DescriptorFlag.WRITE) !== 0, head);
      if ((flagsAndNext & DescriptorFlag.NEXT) === 0) return;
      index = flagsAndNext >>> 16;
      if (index >= entries) throw this.#error("next beyond the table", head);
    }
  }

  #append(address: number, length: number, writable: boolean, head: number): void {
    const { chain } = this;
    if (!writable && chain.writableBytes > 0) throw this.#error("readable after writable", head);
    if (length === 0) return;
    const hva = this.#memory.hva(address, length);
    if (hva === 0) throw this.#error("buffer outside RAM", head);
    if (chain.count === this.size) throw this.#error("chain too long", head);
    if (chain.readableBytes + chain.writableBytes + length > MAX_CHAIN_BYTES)
      throw this.#error("chain too large", head);
    chain.append(address, hva, length, writable);
  }

  /** An area as a block; areas are aligned to less than blocks are, so it may start `lead` bytes in. */
  #area(gpa: number, length: number, align: number): { block: MemoryBlock; lead: number } {
    if (gpa % align !== 0) throw this.#error("ring alignment");
    const hva = this.#memory.hva(gpa, length);
    if (hva === 0) throw this.#error("ring outside RAM");
    const lead = hva % 8;
    return { block: new MemoryBlock(hva - lead, length + lead), lead };
  }

  #error(defect: QueueDefect, head?: number): QueueError {
    if (head !== undefined) this.chain.begin(head);
    return new QueueError(this.index, defect, head);
  }
}
