import { DescriptorFlag } from "../../../../src/devices/virtio/queue/layout.ts";
import { POSITION_WORDS, Queue, type QueueSetup } from "../../../../src/devices/virtio/queue/queue.ts";
import type { GuestMemory } from "../../../../src/memory/guest-memory.ts";

/** A descriptor as the driver writes it, good or bad. */
export interface Descriptor {
  readonly address: number;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}

/** A buffer of a chain. */
export interface Buffer {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

/** A used element: a chain that came back. */
export interface Used {
  readonly head: number;
  readonly written: number;
}

/**
 * The driver's side of a split virtqueue in test memory (VIRTIO 1.3, 2.7), for tests of the queue and of back ends. It
 * writes what it is told, also what no driver should.
 */
export class RingDriver {
  readonly setup: QueueSetup;
  readonly memory: GuestMemory;
  readonly size: number;
  #avail = 0;
  #used = 0;
  #free: number[];

  /**
   * Lays the rings out from guest address `base`, a multiple of 16, upwards; the available and the used ring start `lead`
   * bytes behind a multiple of 16.
   */
  constructor(
    memory: GuestMemory,
    base: number,
    size: number,
    eventIdx = false,
    index = 0,
    driverLead = 0,
    deviceLead = 0,
  ) {
    this.memory = memory;
    this.size = size;
    const driverArea = base + 16 * size + driverLead;
    const deviceArea = Math.ceil((driverArea + 6 + 2 * size) / 16) * 16 + deviceLead;
    this.setup = { index, size, eventIdx, descriptorArea: base, driverArea, deviceArea };
    this.#free = Array.from({ length: size }, (_, i) => i);
  }

  /** Guest address of the first byte behind the rings, a multiple of 16. */
  get end(): number {
    return Math.ceil((this.setup.deviceArea + 6 + 8 * this.size) / 16) * 16;
  }

  /** The device's side, fresh. */
  queue(positions: Uint16Array = new Uint16Array(POSITION_WORDS)): Queue {
    return new Queue(this.memory, this.setup, positions);
  }

  /** The device's side of rings that lie elsewhere. */
  queueOf(setup: QueueSetup): Queue {
    return new Queue(this.memory, setup, new Uint16Array(POSITION_WORDS));
  }

  /** Writes descriptor `index` of the table at `table`. */
  describe(index: number, descriptor: Descriptor, table: number = this.setup.descriptorArea): void {
    const bytes = new DataView(new ArrayBuffer(16));
    bytes.setBigUint64(0, BigInt(descriptor.address), true);
    bytes.setUint32(8, descriptor.length, true);
    bytes.setUint16(12, descriptor.flags ?? 0, true);
    bytes.setUint16(14, descriptor.next ?? 0, true);
    this.memory.write(table + 16 * index, new Uint8Array(bytes.buffer));
  }

  /** Puts a head, good or bad, into the available ring and moves the index on. */
  offer(head: number): void {
    this.#write16(this.setup.driverArea + 4 + 2 * (this.#avail % this.size), head);
    this.setAvailable(this.#avail + 1);
  }

  /** Sets the available index. */
  setAvailable(index: number): void {
    this.#avail = index & 0xffff;
    this.#write16(this.setup.driverArea + 2, this.#avail);
  }

  /** Starts both indices at `index`, as after that many chains. */
  startAt(index: number): void {
    this.setAvailable(index);
    this.#used = index & 0xffff;
    this.#write16(this.setup.deviceArea + 2, this.#used);
  }

  /** Makes a chain of direct descriptors available. @returns its head, or undefined where descriptors are too few */
  add(...buffers: readonly Buffer[]): number | undefined {
    if (buffers.length > this.#free.length) return undefined;
    const taken = this.#free.splice(0, buffers.length);
    this.#chain(buffers, taken, this.setup.descriptorArea);
    const head = taken[0] ?? 0;
    this.#held.set(head, taken);
    this.offer(head);
    return head;
  }

  /** Makes a chain through an indirect table at `table` available. */
  addIndirect(table: number, ...buffers: readonly Buffer[]): number | undefined {
    const head = this.#free.shift();
    if (head === undefined) return undefined;
    this.#chain(
      buffers,
      buffers.map((_, i) => i),
      table,
    );
    this.describe(head, { address: table, length: 16 * buffers.length, flags: DescriptorFlag.INDIRECT });
    this.#held.set(head, [head]);
    this.offer(head);
    return head;
  }

  /** What came back since the last call. Its descriptors are free again. */
  take(): Used[] {
    const { deviceArea } = this.setup;
    const end = this.memory.readU16(deviceArea + 2);
    const back: Used[] = [];
    for (; this.#used !== end; this.#used = (this.#used + 1) & 0xffff) {
      const at = deviceArea + 4 + 8 * (this.#used % this.size);
      const head = this.memory.readU32(at);
      back.push({ head, written: this.memory.readU32(at + 4) });
      this.#free.push(...(this.#held.get(head) ?? []));
      this.#held.delete(head);
    }
    return back;
  }

  /** The used index up to which chains were taken back. */
  get taken(): number {
    return this.#used;
  }

  /** The flags of the available ring. */
  setFlags(flags: number): void {
    this.#write16(this.setup.driverArea, flags);
  }

  /** EVENT_IDX: interrupt when the used index passes `index`. */
  setUsedEvent(index: number): void {
    this.#write16(this.setup.driverArea + 4 + 2 * this.size, index);
  }

  /** EVENT_IDX: the device wants a notification when the available index passes this. */
  get availEvent(): number {
    return this.memory.readU16(this.setup.deviceArea + 4 + 8 * this.size);
  }

  readonly #held = new Map<number, number[]>();

  #chain(buffers: readonly Buffer[], indices: readonly number[], table: number): void {
    buffers.forEach(({ address, length, writable }, i) => {
      const next = indices[i + 1];
      const flags = (writable === true ? DescriptorFlag.WRITE : 0) | (next === undefined ? 0 : DescriptorFlag.NEXT);
      this.describe(indices[i] ?? 0, { address, length, flags, next: next ?? 0 }, table);
    });
  }

  #write16(address: number, value: number): void {
    this.memory.write(address, Uint8Array.of(value & 0xff, (value >> 8) & 0xff));
  }
}
