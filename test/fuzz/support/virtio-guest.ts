import type { IoClient } from "../../../src/devices/io-loop.ts";
import { DescriptorFlag } from "../../../src/devices/virtio/queue/layout.ts";
import { Bar0 } from "../../../src/devices/virtio/transport/bar-layout.ts";
import { CommonRegister } from "../../../src/devices/virtio/transport/common-config.ts";
import type { VirtioDevice } from "../../../src/devices/virtio/transport/device.ts";
import { QueueHandover } from "../../../src/devices/virtio/transport/handover.ts";
import { TransportBlock } from "../../../src/devices/virtio/transport/state.ts";
import type { VirtioPciWiring } from "../../../src/devices/virtio/transport/wiring.ts";
import type { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { TransportRig } from "../../unit/devices/virtio/transport-rig.ts";
import type { Input } from "../engine/input.ts";
import { FuzzLoop } from "./fuzz-loop.ts";
import { GuardedMemory } from "./guarded-memory.ts";

const ALL_STATUS = 15;
/** Rings of queue i lie here, one page each, and buffers behind them. */
const RING_BYTES = 0x2000;
const MOST_ACTS = 32;
const LARGEST_RING_BITS = 7;

/** A buffer of a request. */
export interface GuestBuffer {
  /** What the driver puts there. */
  readonly bytes?: Uint8Array;
  readonly length: number;
  readonly writable: boolean;
}

/** What is special about a device. */
export interface DeviceUnderTest {
  readonly device: VirtioDevice;
  /** Makes what serves its queues. */
  serve(loop: FuzzLoop, wiring: VirtioPciWiring, memory: GuestMemory, ram: GuardedMemory): IoClient;
  /** Bytes of a request that makes sense, more or less. */
  request?(input: Input): Uint8Array;
  /** A whole request that makes sense, as the buffers of a chain. */
  chain?(input: Input): readonly GuestBuffer[];
  /** Something that the host's side does. */
  host?(input: Input): void;
  /** After a run: gives up what the host's side holds. */
  clean?(): void;
  /** Serve every run anew: for what is not the same after a reset of the device as it was before. */
  readonly fresh?: boolean;
  /** Bytes of RAM at 1 MiB; the default holds eight queues. */
  readonly ramBytes?: number;
}

interface Ring {
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
  readonly size: number;
  available: number;
  nextDescriptor: number;
}

/** A driver that does what no driver should, with a device whose back end runs in this thread. */
export class VirtioGuest {
  readonly ram: GuardedMemory;
  readonly loop: FuzzLoop;
  readonly #rig: TransportRig;
  readonly #under: DeviceUnderTest;
  #client: IoClient;
  readonly #handover: QueueHandover;
  readonly #base: number;
  readonly #data: number;
  readonly #dataBytes: number;
  readonly #scratch = new DataView(new ArrayBuffer(16));
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);
  #rings: Ring[] = [];

  constructor(under: DeviceUnderTest) {
    this.#under = under;
    const { device } = under;
    const ringBytes = RING_BYTES * device.queueSizes.length;
    this.ram = new GuardedMemory(ringBytes + (under.ramBytes ?? 0x8000));
    const [{ gpa, size }] = this.ram.regions;
    this.#base = gpa;
    this.#data = gpa + ringBytes;
    this.#dataBytes = size - ringBytes;
    this.#rig = new TransportRig(device, this.ram.memory);
    this.loop = new FuzzLoop(this.#rig.control);
    this.#handover = new QueueHandover(new TransportBlock(device, this.#rig.wiring.block));
    this.#client = this.#serve();
    if (under.fresh !== true) return;
    // What the thread keeps for good is mapped now.
    under.clean?.();
    this.#client.close?.();
  }

  /** A whole life of the device, from power-on to a reset in which it must let go of everything. */
  play(input: Input): void {
    this.ram.clear();
    this.#rig.front.reset();
    this.#rig.notices.length = 0;
    this.#rig.openInterrupts();
    if (this.#under.fresh === true) {
      this.loop.renew();
      this.#client = this.#serve();
    }
    this.#start(input);
    for (let acts = 0; acts < MOST_ACTS && !input.isEmpty; acts++) this.#act(input);
    this.#reset();
    this.#under.clean?.();
    if (this.#under.fresh === true) this.#client.close?.();
    else this.loop.settle();
  }

  #serve(): IoClient {
    return this.#under.serve(this.loop, this.#rig.wiring, this.ram.memory, this.ram);
  }

  #act(input: Input): void {
    const queue = input.below(this.#rings.length);
    const ring = this.#rings[queue];
    if (ring === undefined) return;
    switch (input.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        this.#offerChain(input, ring);
        break;
      case 4:
        this.#describe(ring.descriptors + 16 * input.below(ring.size), input);
        break;
      case 5:
        this.#offer(ring, input.u16());
        break;
      case 6:
        ring.available = input.u16();
        this.#poke16(ring.driver + 2, ring.available);
        break;
      case 7:
        this.#poke16(ring.driver, input.u8());
        this.#poke16(ring.driver + 4 + 2 * ring.size, input.u16());
        break;
      case 8:
        this.ram.poke(this.#pointer(input), input.take(input.below(64)));
        break;
      case 9:
        this.#offerIndirect(input, ring);
        break;
      case 10:
        this.#under.host?.(input);
        break;
      case 11:
        if (input.below(4) === 0) {
          this.#reset();
          this.#start(input);
        } else if (input.bool()) this.#rig.write(Bar0.DEVICE + input.below(64), input.u32(), input.pick([1, 2, 4, 8]));
        else this.#rig.read(Bar0.DEVICE + input.below(64), input.pick([1, 2, 4, 8]));
        break;
      case 12:
        this.#client.pause();
        this.#client.wake();
        break;
      default:
        this.#rig.ring(queue);
    }
    if (input.below(3) > 0) this.loop.settle();
  }

  /** The driver finds the device, and sets queues up, most of them well. */
  #start(input: Input): void {
    const rig = this.#rig;
    const [lo, hi] = rig.offered();
    rig.status = 3;
    rig.accept(input.bool() ? lo : (lo & input.u32()) >>> 0, hi);
    rig.status = 11;
    rig.write(CommonRegister.CONFIG_MSIX_VECTOR, 0, 2);
    this.#rings = this.#under.device.queueSizes.map((largest, i) => {
      const ring = this.#ring(input, i, largest);
      rig.write(CommonRegister.QUEUE_SELECT, i, 2);
      rig.write(CommonRegister.QUEUE_SIZE, ring.size, 2);
      rig.write(CommonRegister.QUEUE_MSIX_VECTOR, i + 1, 2);
      this.#writeAddress(CommonRegister.QUEUE_DESC, ring.descriptors);
      this.#writeAddress(CommonRegister.QUEUE_DRIVER, ring.driver);
      this.#writeAddress(CommonRegister.QUEUE_DEVICE, ring.device);
      if (input.below(16) !== 1) rig.write(CommonRegister.QUEUE_ENABLE, 1, 2);
      return ring;
    });
    rig.status = ALL_STATUS;
    this.#client.wake();
    this.loop.settle();
  }

  #ring(input: Input, index: number, largest: number): Ring {
    const size = Math.min(1 << input.below(LARGEST_RING_BITS + 1), largest);
    const good = input.below(8) !== 1;
    const base = this.#base + RING_BYTES * index;
    return {
      size: good ? size : Math.max(1, input.edge(16)),
      descriptors: good ? base : this.#pointer(input),
      driver: good ? base + 0x1000 : this.#pointer(input),
      device: good ? base + 0x1800 : this.#pointer(input),
      available: 0,
      nextDescriptor: 0,
    };
  }

  #offerChain(input: Input, ring: Ring): void {
    const head = ring.nextDescriptor;
    const whole = this.#under.chain !== undefined && input.below(8) > 0 ? this.#under.chain(input) : undefined;
    if (whole !== undefined && whole.length <= ring.size) {
      this.#offerWhole(input, ring, whole);
      return;
    }
    const count = 1 + input.below(4);
    const lies = input.below(8) === 1;
    for (let i = 0; i < count; i++) {
      const at = ring.descriptors + 16 * (ring.nextDescriptor % ring.size);
      ring.nextDescriptor = (ring.nextDescriptor + 1) % ring.size;
      if (lies) this.#describe(at, input);
      else this.#buffer(at, input, i, i === count - 1 ? undefined : ring.nextDescriptor);
    }
    this.#offer(ring, head);
  }

  #offerWhole(input: Input, ring: Ring, buffers: readonly GuestBuffer[]): void {
    const head = ring.nextDescriptor;
    for (const [i, { bytes, length, writable }] of buffers.entries()) {
      const at = ring.descriptors + 16 * ring.nextDescriptor;
      ring.nextDescriptor = (ring.nextDescriptor + 1) % ring.size;
      const address = this.#data + input.below(this.#dataBytes - length);
      if (bytes !== undefined) this.ram.poke(address, bytes);
      const isLast = i === buffers.length - 1;
      const flags = (writable ? DescriptorFlag.WRITE : 0) | (isLast ? 0 : DescriptorFlag.NEXT);
      this.#descriptor(at, address, length, flags, isLast ? 0 : ring.nextDescriptor);
    }
    this.#offer(ring, head);
  }

  #offerIndirect(input: Input, ring: Ring): void {
    const table = this.#pointer(input);
    const count = 1 + input.below(6);
    for (let i = 0; i < count; i++) this.#buffer(table + 16 * i, input, i, i === count - 1 ? undefined : i + 1);
    const head = ring.nextDescriptor;
    ring.nextDescriptor = (ring.nextDescriptor + 1) % ring.size;
    const bytes = input.below(8) === 1 ? input.edge(32) : 16 * count;
    this.#descriptor(ring.descriptors + 16 * head, table, bytes, DescriptorFlag.INDIRECT, 0);
    this.#offer(ring, head);
  }

  /** A descriptor of a chain that hangs together, and a request in it if it is the first. */
  #buffer(at: number, input: Input, place: number, next: number | undefined): void {
    const address = this.#pointer(input);
    const request = place === 0 && input.below(4) > 0 ? this.#under.request?.(input) : undefined;
    const length = request?.length ?? this.#length(input);
    const writable = request === undefined && input.bool();
    if (!writable) this.ram.poke(address, request ?? input.take(Math.min(length, input.below(32))));
    const flags = (writable ? DescriptorFlag.WRITE : 0) | (next === undefined ? 0 : DescriptorFlag.NEXT);
    this.#descriptor(at, address, length, flags, next ?? 0);
  }

  /** A descriptor with anything in it. */
  #describe(at: number, input: Input): void {
    this.#descriptor(at, this.#pointer(input), this.#length(input), input.u8() & 7, input.edge(16));
  }

  #descriptor(at: number, address: number, length: number, flags: number, next: number): void {
    const bytes = this.#scratch;
    bytes.setUint32(0, address % 2 ** 32, true);
    bytes.setUint32(4, Math.floor(address / 2 ** 32), true);
    bytes.setUint32(8, length, true);
    bytes.setUint16(12, flags, true);
    bytes.setUint16(14, next, true);
    this.ram.poke(at, this.#scratchBytes);
  }

  #offer(ring: Ring, head: number): void {
    this.#poke16(ring.driver + 4 + 2 * (ring.available % ring.size), head);
    ring.available = (ring.available + 1) & 0xffff;
    this.#poke16(ring.driver + 2, ring.available);
  }

  /** A guest address: most lie in RAM, many at its edges or in the rings. */
  #pointer(input: Input): number {
    const [first, second = first] = this.ram.regions;
    switch (input.u8() & 15) {
      case 0:
        return first.gpa + first.size - input.below(32);
      case 1:
        return second.gpa + input.below(second.size);
      case 2:
        return second.gpa + second.size - input.below(32);
      case 3:
        return first.gpa + input.below(first.size);
      case 4:
        return input.edge(64);
      case 5:
        return first.gpa - input.below(32);
      default:
        return this.#data + input.below(this.#dataBytes);
    }
  }

  #length(input: Input): number {
    switch (input.u8() & 7) {
      case 0:
        return input.edge(32);
      case 1:
        return 1;
      case 2:
        return 1 + (input.u16() & 0x3fff);
      case 3:
        return 4096;
      default:
        return input.u8();
    }
  }

  /** What the thread does in time when the driver writes 0 to device_status. */
  #reset(): void {
    const { queueSizes } = this.#under.device;
    queueSizes.forEach((_, i) => {
      this.#handover.recall(i, this.#rig.control);
    });
    this.#client.wake();
    this.loop.settle();
    queueSizes.forEach((_, i) => {
      if (!this.#handover.awaitReturn(i, this.#rig.control, 0)) throw new Error(`queue ${i} is kept over a reset`);
    });
    this.#rig.status = 0;
    if (this.#rig.status !== 0) throw new Error("the reset does not end");
  }

  #writeAddress(register: number, address: number): void {
    this.#rig.write(register, address % 2 ** 32);
    this.#rig.write(register + 4, Math.floor(address / 2 ** 32));
  }

  #poke16(at: number, value: number): void {
    this.ram.poke(at, Uint8Array.of(value & 0xff, (value >> 8) & 0xff));
  }
}
