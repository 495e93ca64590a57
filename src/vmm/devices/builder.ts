import type { Irqfd } from "../../devices/lines.ts";
import type { BarKind } from "../../devices/pci/bar.ts";
import { BarAllocator } from "../../devices/pci/bar-allocator.ts";
import type { BlockWiring } from "../../devices/virtio/block/device.ts";
import type { NetWiring } from "../../devices/virtio/net/device.ts";
import { Bar0 } from "../../devices/virtio/transport/bar-layout.ts";
import type { VirtioDevice } from "../../devices/virtio/transport/device.ts";
import { TransportBlock, vectorsOf } from "../../devices/virtio/transport/state.ts";
import type { VirtioPciWiring } from "../../devices/virtio/transport/wiring.ts";
import { createEventFd } from "../../host/eventfd.ts";
import type { PciSegment } from "../../machine/acpi/topology.ts";
import type { PlainWiring, VirtioWiring } from "../../machine/pci-devices.ts";
import { type Gpa, gpa } from "../../memory/address.ts";
import type { RamRegion } from "../../memory/guest-memory.ts";
import type { SharedArena } from "../../threads/arena.ts";
import { type BlockRef, refTo } from "../../threads/block-ref.ts";
import type { ConsoleEnds } from "../console-files.ts";
import type { Descriptors } from "../descriptors.ts";
import type { MemorySlots } from "../memory-slots.ts";
import { VmThread } from "../vm-thread.ts";
import { DeviceIds } from "./device-ids.ts";
import { PciSlots } from "./pci-slots.ts";
import type { RateLimiters } from "./rate-limiters.ts";

/** 64-bit BARs lie this far apart, so that a guest may move them in whole huge pages. */
const BAR64_ALIGN = 8 << 20;

/**
 * Memory of devices lies at the low end of the aperture, in sections of Linux' memory model of its own: a kernel with address
 * space randomization has room for 10 TiB above its RAM and cannot map what lies beyond.
 */
const MEMORY_ALIGN = 128 << 20;

interface QueueThreadOf<K extends string, W> {
  /** Of worker. */
  readonly kind: K;
  readonly thread: VmThread;
  /** The device whose queue it serves, or pair of queues. */
  readonly device: W;
  readonly queue: number;
  /** Host CPUs to stay on; anywhere when undefined. */
  readonly affinity: readonly number[] | undefined;
}

/** A thread that serves one queue of a device, or one pair of queues, and does nothing else. */
export type QueueThread = QueueThreadOf<"block", BlockWiring> | QueueThreadOf<"net", NetWiring>;

/** What the PCI devices of a VM are made from. */
export interface PciResources {
  readonly arena: SharedArena;
  readonly descriptors: Descriptors;
  readonly irqfd: () => Irqfd;
  /** Takes over what has to be given back when the VM ends. */
  readonly owner: DisposableStack;
  readonly segment: PciSegment;
  readonly memorySlots: MemorySlots;
  /** The thread of all devices with little traffic. */
  readonly ioThread: VmThread;
  readonly console: ConsoleEnds | undefined;
  readonly rateLimiters: RateLimiters;
}

/** Where a device is to go, as far as the user said so. */
export interface Placement {
  readonly id?: string;
  readonly pci_device_id?: number;
}

/** Gives the devices of a VM their places - identifier, slot, BARs, interrupts, threads - and collects their wirings. */
export class PciBuilder {
  readonly wirings: VirtioWiring[] = [];
  readonly functions: PlainWiring[] = [];
  readonly queueThreads: QueueThread[] = [];
  /** What devices have given the guest. */
  readonly memory: RamRegion[] = [];
  readonly resources: PciResources;
  readonly ids: DeviceIds;
  readonly #slots = new PciSlots();
  readonly #bars32: BarAllocator;
  readonly #bars64: BarAllocator;

  /**
   * @param placed every device there will be: what users chose is set aside before anything is chosen here
   * @throws PciSlotError
   */
  constructor(resources: PciResources, placed: readonly Placement[]) {
    this.resources = resources;
    this.#bars32 = new BarAllocator(resources.segment.mmio32);
    this.#bars64 = new BarAllocator(resources.segment.mmio64);
    this.ids = new DeviceIds(placed.flatMap(({ id }) => id ?? []));
    for (const { pci_device_id: slot, id } of placed)
      if (slot !== undefined) this.#slots.choose(slot, id ?? "a device");
  }

  /** The chosen slot, or the lowest free one. @throws PciSlotError */
  slot({ pci_device_id }: Placement): number {
    return this.#slots.take(pci_device_id);
  }

  /** Where the guest sees a device's memory of `size` bytes. @throws BarSpaceError */
  memoryAddress(size: number): Gpa {
    return gpa(this.#bars64.allocateLow(size, MEMORY_ALIGN));
  }

  /** A thread of a device's own, named as the sheet names it. @throws SysError, RangeError */
  thread(name: string): VmThread {
    const { arena, owner } = this.resources;
    const thread = new VmThread(name, arena);
    owner.defer(() => thread.control.close());
    return thread;
  }

  /** A block in the memory that all threads share. @throws RangeError when there is no more of it */
  block(size: number): BlockRef {
    return refTo(this.resources.arena.allocate(size));
  }

  /** Room for a BAR. @param align of its address, its size at least, in bytes @throws BarSpaceError */
  bar(kind: BarKind, size: number, align = size): number {
    return (kind === "memory32" ? this.#bars32 : this.#bars64).allocate(size, align);
  }

  /**
   * A virtio device's transport: its block, BAR 0, interrupts and doorbells.
   * @param threadOf the thread that serves a queue; without it, that of all devices with little traffic
   * @param barKind disks that are there at boot have 32-bit BARs, for firmware that maps 4 GiB only
   * @throws BarSpaceError, OutOfInterruptsError, SysError
   */
  transport(
    id: string,
    device: VirtioDevice,
    threadOf: (queue: number) => VmThread | undefined = () => this.resources.ioThread,
    barKind: BarKind = "memory64",
  ): VirtioPciWiring {
    const { descriptors, irqfd } = this.resources;
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
        return { doorbell: descriptors.own(createEventFd()), control: thread.controlRef };
      }),
    };
  }
}
