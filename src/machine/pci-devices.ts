import type { Bus } from "../devices/bus.ts";
import type { StatefulDevice } from "../devices/device.ts";
import type { IoEventFds } from "../devices/io-event-fds.ts";
import { Ivshmem, type IvshmemWiring } from "../devices/ivshmem.ts";
import type { MsiRouter } from "../devices/lines.ts";
import type { MemorySlots } from "../devices/memory-slots.ts";
import type { NoticeListener } from "../devices/notices.ts";
import type { BarMover } from "../devices/pci/bar.ts";
import { PciConfigPorts } from "../devices/pci/config-ports.ts";
import { ECAM_BYTES, Ecam } from "../devices/pci/ecam.ts";
import type { PciFunction } from "../devices/pci/function.ts";
import { HostBridge } from "../devices/pci/host-bridge.ts";
import type { PlainFunction } from "../devices/pci/plain-function.ts";
import { PciSegment, type PciSegmentWiring } from "../devices/pci/segment.ts";
import { Pvpanic, type PvpanicWiring } from "../devices/pvpanic.ts";
import { type BalloonWiring, balloonDevice } from "../devices/virtio/balloon/device.ts";
import { type BlockWiring, blockDevice } from "../devices/virtio/block/device.ts";
import { type ConsoleWiring, consoleDevice } from "../devices/virtio/console/device.ts";
import { type NetWiring, netDevice } from "../devices/virtio/net/device.ts";
import { type PmemWiring, pmemDevice } from "../devices/virtio/pmem/device.ts";
import { type RngWiring, rngDevice } from "../devices/virtio/rng/device.ts";
import { type RtcWiring, rtcDevice } from "../devices/virtio/rtc/device.ts";
import type { VirtioDevice } from "../devices/virtio/transport/device.ts";
import { VirtioPciFunction } from "../devices/virtio/transport/virtio-pci.ts";
import { type VsockWiring, vsockDevice } from "../devices/virtio/vsock/device.ts";
import { type WatchdogWiring, watchdogDevice } from "../devices/virtio/watchdog/device.ts";
import type { BlockRef } from "../threads/block-ref.ts";

/** A virtio device in its slot, as plain data. */
export type VirtioWiring =
  | { readonly kind: "console"; readonly slot: number; readonly device: ConsoleWiring }
  | { readonly kind: "block"; readonly slot: number; readonly device: BlockWiring }
  | { readonly kind: "net"; readonly slot: number; readonly device: NetWiring }
  | { readonly kind: "rng"; readonly slot: number; readonly device: RngWiring }
  | { readonly kind: "pmem"; readonly slot: number; readonly device: PmemWiring }
  | { readonly kind: "vsock"; readonly slot: number; readonly device: VsockWiring }
  | { readonly kind: "balloon"; readonly slot: number; readonly device: BalloonWiring }
  | { readonly kind: "watchdog"; readonly slot: number; readonly device: WatchdogWiring }
  | { readonly kind: "rtc"; readonly slot: number; readonly device: RtcWiring };

/** Any other PCI function in its slot, as plain data. */
export type PlainWiring =
  | { readonly kind: "pvpanic"; readonly slot: number; readonly device: PvpanicWiring }
  | { readonly kind: "ivshmem"; readonly slot: number; readonly device: IvshmemWiring };

/** PCI segment 0 and all that is on it, as plain data. */
export interface PciWiring {
  readonly segment: PciSegmentWiring;
  readonly ecamBase: number;
  /** Configuration mechanism 1, where the machine has ports: its block. */
  readonly configPorts: { readonly block: BlockRef; readonly base: number; readonly count: number } | undefined;
  readonly hostBridge: BlockRef;
  readonly devices: readonly VirtioWiring[];
  readonly functions: readonly PlainWiring[];
}

/** What the functions of one thread reach of it. */
interface PciHost {
  readonly router: MsiRouter;
  readonly ioEventFds: IoEventFds;
  readonly memorySlots: MemorySlots;
  readonly notify: NoticeListener;
}

/** What the transport has to know of a device. */
export function virtioDevice(wiring: VirtioWiring): VirtioDevice {
  switch (wiring.kind) {
    case "console":
      return consoleDevice(wiring.device.size);
    case "block":
      return blockDevice(wiring.device.settings);
    case "net":
      return netDevice(wiring.device.settings);
    case "rng":
      return rngDevice;
    case "pmem":
      return pmemDevice(wiring.device.region);
    case "vsock":
      return vsockDevice(wiring.device.cid);
    case "balloon":
      return balloonDevice(wiring.device.settings);
    case "watchdog":
      return watchdogDevice;
    case "rtc":
      return rtcDevice;
  }
}

/** A function that is no virtio device. */
function plainFunction(wiring: PlainWiring, host: PciHost & { readonly mover: BarMover }): PlainFunction {
  switch (wiring.kind) {
    case "pvpanic":
      return new Pvpanic(wiring.device, host);
    case "ivshmem":
      return new Ivshmem(wiring.device, host);
  }
}

/** One thread's instances of PCI segment 0 and its functions, over the blocks that all threads share. */
export class PciDevices {
  readonly #wiring: PciWiring;
  readonly #segment: PciSegment;
  readonly #configPorts: PciConfigPorts | undefined;
  readonly #hostBridge: HostBridge;
  readonly #virtio = new Map<string, VirtioPciFunction>();
  readonly #plain = new Map<string, PlainFunction>();

  constructor(wiring: PciWiring, services: PciHost) {
    this.#wiring = wiring;
    this.#segment = new PciSegment(wiring.segment);
    this.#hostBridge = new HostBridge(wiring.hostBridge);
    this.#segment.add(0, this.#hostBridge);
    if (wiring.configPorts !== undefined)
      this.#configPorts = new PciConfigPorts(wiring.configPorts.block, this.#segment);
    const host = { ...services, mover: this.#segment };
    for (const entry of wiring.devices) {
      const { transport } = entry.device;
      const fn = new VirtioPciFunction(virtioDevice(entry), transport, host);
      this.#segment.add(entry.slot, fn);
      this.#virtio.set(transport.id, fn);
    }
    for (const entry of wiring.functions) {
      const fn = plainFunction(entry, host);
      this.#segment.add(entry.slot, fn);
      this.#plain.set(entry.device.id, fn);
    }
  }

  /** The function of the virtio device with that id. */
  virtio(id: string): VirtioPciFunction | undefined {
    return this.#virtio.get(id);
  }

  /** The function of the device with that id, of whatever kind. */
  function(id: string): PciFunction | undefined {
    return this.#virtio.get(id) ?? this.#plain.get(id);
  }

  /** The devices with state of their own, by the names that a saved machine uses. */
  get stateful(): Readonly<Record<string, StatefulDevice>> {
    return {
      ...(this.#configPorts === undefined ? {} : { pciConfigPorts: this.#configPorts }),
      hostBridge: this.#hostBridge,
      ...Object.fromEntries(this.#virtio),
      ...Object.fromEntries(this.#plain),
    };
  }

  /** Notifies drivers and back ends of all queues once, after a restore: either may have waited for the other. */
  nudge(): void {
    for (const fn of this.#virtio.values()) fn.nudge();
  }

  /** Puts the segment on this thread's buses. @throws BusConflictError */
  attach(ports: Bus, mmio: Bus): void {
    const { configPorts, ecamBase } = this.#wiring;
    if (configPorts !== undefined && this.#configPorts !== undefined)
      ports.add(configPorts.base, configPorts.count, this.#configPorts);
    mmio.add(ecamBase, ECAM_BYTES, new Ecam(this.#segment));
    this.#segment.attach(mmio);
  }
}
