import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { DiskImage } from "../block/disk-image.ts";
import type { ImageFormat } from "../block/image-format.ts";
import type { DiskConfig, ImageType } from "../config/schema/disk.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import type { Irqfd } from "../devices/lines.ts";
import { BarAllocator } from "../devices/pci/bar-allocator.ts";
import { type BlockSettings, type BlockWiring, blockDevice } from "../devices/virtio/block/device.ts";
import { consoleDevice } from "../devices/virtio/console/device.ts";
import { rngDevice } from "../devices/virtio/rng/device.ts";
import { Bar0 } from "../devices/virtio/transport/bar-layout.ts";
import { type VirtioDevice, VirtioType } from "../devices/virtio/transport/device.ts";
import { TransportBlock, vectorsOf } from "../devices/virtio/transport/state.ts";
import type { VirtioPciWiring } from "../devices/virtio/transport/wiring.ts";
import { createEventFd } from "../host/eventfd.ts";
import { terminalSize } from "../host/tty.ts";
import type { PciSegment } from "../machine/acpi/topology.ts";
import type { VirtioWiring } from "../machine/pci-devices.ts";
import type { SharedArena } from "../threads/arena.ts";
import { refTo } from "../threads/block-ref.ts";
import { logger } from "../threads/log.ts";
import type { ConsoleEnds } from "./console-files.ts";
import type { Descriptors } from "./descriptors.ts";
import { DeviceIds } from "./device-ids.ts";
import { PciSlots } from "./pci-slots.ts";
import { VmThread } from "./vm-thread.ts";

const log = logger("devices");

export const CONSOLE_ID = "__console";
const RNG_ID = "__rng";

/** 64-bit BARs lie this far apart, so that a guest may move them in whole huge pages. */
const BAR64_ALIGN = 8 << 20;
/** A FIFO or a terminal must neither keep us waiting nor become ours. */
const OPEN_SOURCE = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

const FORMATS: Readonly<Record<ImageType, ImageFormat | undefined>> = {
  Raw: "raw",
  Qcow2: "qcow2",
  FixedVhd: "vhd",
  Vhdx: "vhdx",
  FlatVmdk: "vmdk",
  Unknown: undefined,
};

/** A source of entropy that cannot be had. */
export class EntropySourceError extends Error {
  override readonly name = "EntropySourceError";
}

/** A disk without an image. */
export class DiskPathError extends Error {
  override readonly name = "DiskPathError";
  constructor(id: string | undefined) {
    super(`${id === undefined ? "a disk" : `disk '${id}'`} has no image: give --disk a path`);
  }
}

/** A queue of a block device and the thread that serves it. */
export interface BlockQueueThread {
  readonly thread: VmThread;
  readonly wiring: BlockWiring;
  readonly index: number;
  readonly affinity: readonly number[] | undefined;
}

/** What the devices of a VM are made from. */
export interface VirtioResources {
  readonly arena: SharedArena;
  readonly descriptors: Descriptors;
  readonly irqfd: () => Irqfd;
  /** Takes over what has to be given back when the VM ends. */
  readonly owner: DisposableStack;
  readonly segment: PciSegment;
  /** The thread of all devices with little traffic. */
  readonly ioThread: VmThread;
  readonly console: ConsoleEnds | undefined;
}

/** The virtio devices of a VM, wired in the order that decides their slots. */
export class VirtioDevices {
  readonly wirings: VirtioWiring[] = [];
  readonly blockThreads: BlockQueueThread[] = [];
  readonly #resources: VirtioResources;
  readonly #slots = new PciSlots();
  readonly #ids: DeviceIds;
  readonly #bars32: BarAllocator;
  readonly #bars64: BarAllocator;

  /** @throws DiskPathError, DiskImageError, EntropySourceError, PciSlotError, BarSpaceError, SysError */
  constructor(config: VmConfig, resources: VirtioResources) {
    this.#resources = resources;
    this.#bars32 = new BarAllocator(resources.segment.mmio32);
    this.#bars64 = new BarAllocator(resources.segment.mmio64);
    const disks = config.disks ?? [];
    const placed = [config.console, ...disks, config.rng];
    this.#ids = new DeviceIds(placed.flatMap(({ id }) => id ?? []));
    for (const { pci_device_id: slot, id } of placed)
      if (slot !== undefined) this.#slots.choose(slot, id ?? "a device");
    if (resources.console !== undefined) this.#addConsole(config.console, resources.console);
    for (const disk of disks) this.#addDisk(disk);
    this.#addRng(config.rng);
  }

  #addConsole({ id = CONSOLE_ID, pci_device_id }: VmConfig["console"], { inputFd, outputFd }: ConsoleEnds): void {
    const size = (outputFd === undefined ? undefined : terminalSize(outputFd)) ?? { columns: 0, rows: 0 };
    const { ioThread } = this.#resources;
    const transport = this.#transport(id, consoleDevice(size), () => ioThread);
    this.wirings.push({
      kind: "console",
      slot: this.#slots.take(pci_device_id),
      device: { transport, size, inputFd, outputFd },
    });
  }

  #addDisk(disk: DiskConfig): void {
    const id = this.#ids.of(disk.id, "_disk");
    const settings = this.#openDisk(disk);
    const threads = Array.from({ length: settings.queues }, (_, i) => {
      const thread = new VmThread(`${id}_q${i}`, this.#resources.arena);
      this.#resources.owner.defer(() => thread.control.close());
      return thread;
    });
    const transport = this.#transport(id, blockDevice(settings), (queue) => threads[queue]);
    const device: BlockWiring = { transport, settings };
    this.wirings.push({ kind: "block", slot: this.#slots.take(disk.pci_device_id), device });
    threads.forEach((thread, index) => {
      const affinity = disk.queue_affinity?.find((entry) => entry.queue_index === index)?.host_cpus;
      this.blockThreads.push({ thread, wiring: device, index, affinity });
    });
  }

  #openDisk(disk: DiskConfig): BlockSettings {
    const { path } = disk;
    if (path === undefined || path === "") throw new DiskPathError(disk.id);
    const image = this.#resources.owner.adopt(
      new DiskImage({
        path,
        readonly: disk.readonly,
        direct: disk.direct,
        format: FORMATS[disk.image_type],
        sparse: disk.sparse,
        lock: disk.lock_granularity === "Full" ? "full" : "byte-range",
      }),
      (open) => open.close(),
    );
    for (const warning of image.warnings) log.warn(warning);
    return {
      image: image.image,
      engine: disk.disable_io_uring ? "synchronous" : "io_uring",
      queues: Math.max(1, disk.num_queues),
      queueSize: disk.queue_size,
      sparse: disk.sparse,
      serial: new TextEncoder().encode(disk.serial ?? image.defaultSerial),
      protectFirstSector: image.protectFirstSector,
    };
  }

  #addRng({ id = RNG_ID, pci_device_id, src }: VmConfig["rng"]): void {
    const { descriptors, ioThread } = this.#resources;
    const sourceFd = descriptors.own(openSource(src));
    const transport = this.#transport(id, rngDevice, () => ioThread);
    this.wirings.push({ kind: "rng", slot: this.#slots.take(pci_device_id), device: { transport, sourceFd } });
  }

  /**
   * A device's place on the bus. Disks that are there at boot have 32-bit BARs, for firmware that maps 4 GiB only.
   * @param threadOf the thread that serves a queue
   */
  #transport(id: string, device: VirtioDevice, threadOf: (queue: number) => VmThread | undefined): VirtioPciWiring {
    const { arena, descriptors, irqfd } = this.#resources;
    const block = refTo(arena.allocate(TransportBlock.sizeOf(device)));
    return {
      id,
      block,
      bar:
        device.type === VirtioType.BLOCK
          ? { kind: "memory32", address: this.#bars32.allocate(Bar0.SIZE, Bar0.SIZE) }
          : { kind: "memory64", address: this.#bars64.allocate(Bar0.SIZE, BAR64_ALIGN) },
      vectors: Array.from({ length: vectorsOf(device.queueSizes.length) }, irqfd),
      queues: device.queueSizes.map((_, queue) => {
        const thread = threadOf(queue);
        if (thread === undefined) throw new RangeError(`queue ${queue} of ${id} has no thread`);
        return { doorbell: descriptors.own(createEventFd()), control: thread.controlRef };
      }),
    };
  }
}

/** @throws EntropySourceError */
function openSource(path: string): number {
  const advice = `cannot read the source of entropy '${path}': give --rng another src`;
  let fd: number;
  try {
    fd = openSync(path, OPEN_SOURCE);
  } catch (cause) {
    throw new EntropySourceError(advice, { cause });
  }
  if (!fstatSync(fd).isDirectory()) return fd;
  closeSync(fd);
  throw new EntropySourceError(`${advice}, which is no directory`);
}
