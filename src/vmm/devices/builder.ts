import type { RateLimiterConfig } from "../../config/schema/rate-limiter.ts";
import { Departure } from "../../devices/departure.ts";
import type { Irqfd } from "../../devices/lines.ts";
import type { BarKind } from "../../devices/pci/bar.ts";
import type { BarAllocator } from "../../devices/pci/bar-allocator.ts";
import type { RateGateWiring } from "../../devices/rate-limit/rate-gate.ts";
import type { BlockWiring } from "../../devices/virtio/block/device.ts";
import type { NetWiring } from "../../devices/virtio/net/device.ts";
import { Bar0 } from "../../devices/virtio/transport/bar-layout.ts";
import type { VirtioDevice } from "../../devices/virtio/transport/device.ts";
import { TransportBlock, vectorsOf } from "../../devices/virtio/transport/state.ts";
import type { VirtioPciWiring } from "../../devices/virtio/transport/wiring.ts";
import { createEventFd } from "../../host/eventfd.ts";
import type { FunctionWiring } from "../../machine/pci-devices.ts";
import { type Gpa, gpa } from "../../memory/address.ts";
import type { DeviceMemory } from "../../memory/device-memory.ts";
import type { RamRegion } from "../../memory/guest-memory.ts";
import { SharedArena } from "../../threads/arena.ts";
import { type BlockRef, refTo } from "../../threads/block-ref.ts";
import type { Consoles } from "../consoles/consoles.ts";
import type { GeneratedConfig } from "../control/device-kinds.ts";
import { Descriptors } from "../descriptors.ts";
import type { IrqfdAllocator } from "../irqfds.ts";
import type { MemorySlots } from "../memory-slots.ts";
import { VmThread } from "../vm-thread.ts";
import type { DeviceIds } from "./device-ids.ts";
import type { PciSlots } from "./pci-slots.ts";
import type { RateLimiters } from "./rate-limiters.ts";
import { isRemovable } from "./removable.ts";

/** 64-bit BARs lie this far apart, so that a guest may move them in whole huge pages. */
const BAR64_ALIGN = 8 << 20;

/**
 * Memory of devices lies at the low end of the aperture, in sections of Linux' memory model of its own: a kernel with address
 * space randomization has room for 10 TiB above its RAM and cannot map what lies beyond.
 */
const MEMORY_ALIGN = 128 << 20;

/** Address space for the blocks of a device and its threads; only what is used takes memory. */
const ARENA_BYTES = 32 << 20;

interface QueueThreadOf<K extends string, W> {
  /** Of worker. */
  readonly kind: K;
  readonly thread: VmThread;
  /** The device that it serves queues of. */
  readonly device: W;
  /** Host CPUs to stay on; anywhere when undefined. */
  readonly affinity: readonly number[] | undefined;
}

/** A thread that serves queues of a disk, or one pair of queues of a network device, and does nothing else. */
export type QueueThread =
  | (QueueThreadOf<"block", BlockWiring> & { readonly queues: readonly number[] })
  | (QueueThreadOf<"net", NetWiring> & { readonly queue: number });

/** What the PCI devices of a VM share, or share out among them. */
export interface PciResources {
  readonly irqfds: IrqfdAllocator;
  readonly memorySlots: MemorySlots;
  readonly deviceMemory: DeviceMemory;
  readonly ids: DeviceIds;
  readonly slots: PciSlots;
  /** Takes over what can be given back only when the VM ends. */
  readonly vmOwner: DisposableStack;
  /** The thread of all devices with little traffic that stay as long as the machine. */
  readonly ioThread: VmThread;
  readonly consoles: Consoles;
  readonly rateLimiters: RateLimiters;
  /** Tells the guest that a network device has no link any more. Not before the machine is there. */
  readonly linkDown: (id: string) => void;
}

/** Free addresses of a segment. */
export interface BarSpace {
  readonly bars32: BarAllocator;
  readonly bars64: BarAllocator;
}

/** Whether a device is there from the guest's first instruction on. */
export type Arrival = "at-boot" | "hot-plugged";

/** Where a device is to go, as far as the user said so. */
export interface Placement {
  readonly id?: string;
  readonly pci_device_id?: number;
}

/** Gives one PCI device its place - identifier, slot, BARs, interrupts, threads - and collects what it holds. */
export class PciBuilder {
  /** The device, when it has been placed. */
  wiring: FunctionWiring | undefined;
  readonly queueThreads: QueueThread[] = [];
  readonly arrival: Arrival;
  readonly arena: SharedArena;
  readonly descriptors: Descriptors;
  /** Takes over what has to be given back when the device is gone. */
  readonly owner: DisposableStack;
  /** The thread of the device's own that serves all its queues, if it has one. */
  ioThread: VmThread | undefined;
  /** How the device leaves the thread that it shares with others, if it may. */
  departure: BlockRef | undefined;
  /** Frees the device's addresses, when all that it had there is gone. */
  vacate: () => void = () => undefined;
  /** What was made up for the device, so that its configuration can say it from now on. */
  generated: GeneratedConfig = {};
  /** Memory that the device gives the guest. */
  readonly memory: RamRegion[] = [];
  readonly resources: PciResources;
  readonly #bars: BarSpace;

  constructor(resources: PciResources, bars: BarSpace, arrival: Arrival, owner: DisposableStack) {
    this.resources = resources;
    this.#bars = bars;
    this.arrival = arrival;
    this.owner = owner;
    this.arena = owner.adopt(new SharedArena(ARENA_BYTES), (arena) => arena.close());
    // Other threads look at what the device takes up in its blocks as long as it does.
    owner.defer(() => this.vacate());
    this.descriptors = owner.adopt(new Descriptors(), (open) => open.close());
  }

  /** The given identifier, or a new one with that prefix. @throws DeviceIdInUseError */
  id(given: string): string;
  id(given: string | undefined, prefix: string): string;
  id(given: string | undefined, prefix = ""): string {
    const { ids } = this.resources;
    return this.owner.adopt(ids.take(given, prefix), (id) => ids.free(id));
  }

  /** The chosen slot, or the lowest free one. @throws PciSlotError */
  slot({ pci_device_id: chosen, id }: Placement): number {
    const { slots } = this.resources;
    return this.owner.adopt(slots.take(chosen, id), (slot) => slots.free(slot));
  }

  /** Where the guest sees a device's memory of `size` bytes. @throws BarSpaceError */
  memoryAddress(size: number): Gpa {
    return gpa(this.#bars.bars64.allocateLow(size, MEMORY_ALIGN));
  }

  /** A thread of the device's own, named as the sheet names it. @throws SysError, RangeError */
  thread(name: string): VmThread {
    return this.owner.adopt(new VmThread(name, this.arena), ({ control }) => control.close());
  }

  /** What limits the device's queues. @throws RangeError, SysError */
  gates(count: number, own: RateLimiterConfig | undefined, group?: string): RateGateWiring[] | undefined {
    return this.resources.rateLimiters.gates(this, count, own, group);
  }

  /** A block in the memory that all threads share. @throws RangeError when there is no more of it */
  block(size: number): BlockRef {
    return refTo(this.arena.allocate(size));
  }

  /** Room for a BAR. @param align of its address, its size at least, in bytes @throws BarSpaceError */
  bar(kind: BarKind, size: number, align = size): number {
    return (kind === "memory32" ? this.#bars.bars32 : this.#bars.bars64).allocate(size, align);
  }

  /**
   * A virtio device's transport: its block, BAR 0, interrupts and doorbells.
   * @param threadOf the thread that serves a queue; without it, devices that are there at boot share one, and one that comes
   *   later has a thread, which leaves with it
   * @throws BarSpaceError, OutOfInterruptsError, SysError
   */
  transport(
    id: string,
    device: VirtioDevice,
    threadOf: (queue: number) => VmThread | undefined = () => this.#ioThreadOf(id, device),
    barKind: BarKind = "memory64",
  ): VirtioPciWiring {
    const { irqfds } = this.resources;
    const irqfd = (): Irqfd => this.owner.adopt(irqfds.allocate(), (given) => irqfds.free(given));
    return {
      id,
      block: this.block(TransportBlock.sizeOf(device)),
      bar: {
        kind: barKind,
        address: this.bar(barKind, Bar0.SIZE, barKind === "memory32" ? Bar0.SIZE : BAR64_ALIGN),
      },
      vectors: Array.from({ length: vectorsOf(device.queueSizes.length) }, irqfd),
      queues: device.queueSizes.map((_, queue) => {
        const thread = threadOf(queue);
        if (thread === undefined) throw new RangeError(`queue ${queue} of ${id} has no thread`);
        return { doorbell: this.descriptors.own(createEventFd()), control: thread.controlRef };
      }),
    };
  }

  #ioThreadOf(id: string, device: VirtioDevice): VmThread {
    if (this.arrival === "at-boot") {
      if (isRemovable(device)) this.departure ??= this.block(Departure.size);
      return this.resources.ioThread;
    }
    if (!isRemovable(device)) return this.resources.ioThread;
    this.ioThread ??= this.thread(id);
    return this.ioThread;
  }
}
