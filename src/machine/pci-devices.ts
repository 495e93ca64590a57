import type { Bus } from "../devices/bus.ts";
import type { StatefulDevice } from "../devices/device.ts";
import type { IoEventFds } from "../devices/io-event-fds.ts";
import type { MsiRouter } from "../devices/lines.ts";
import type { NoticeListener } from "../devices/notices.ts";
import { PciConfigPorts } from "../devices/pci/config-ports.ts";
import { ECAM_BYTES, Ecam } from "../devices/pci/ecam.ts";
import { HostBridge } from "../devices/pci/host-bridge.ts";
import { PciSegment, type PciSegmentWiring } from "../devices/pci/segment.ts";
import { type BlockWiring, blockDevice } from "../devices/virtio/block/device.ts";
import { type ConsoleWiring, consoleDevice } from "../devices/virtio/console/device.ts";
import { type RngWiring, rngDevice } from "../devices/virtio/rng/device.ts";
import type { VirtioDevice } from "../devices/virtio/transport/device.ts";
import { VirtioPciFunction } from "../devices/virtio/transport/virtio-pci.ts";
import type { BlockRef } from "../threads/block-ref.ts";

/** A virtio device in its slot, as plain data. */
export type VirtioWiring =
  | { readonly kind: "console"; readonly slot: number; readonly device: ConsoleWiring }
  | { readonly kind: "block"; readonly slot: number; readonly device: BlockWiring }
  | { readonly kind: "rng"; readonly slot: number; readonly device: RngWiring };

/** PCI segment 0 and all that is on it, as plain data. */
export interface PciWiring {
  readonly segment: PciSegmentWiring;
  readonly ecamBase: number;
  /** Configuration mechanism 1, where the machine has ports: its block. */
  readonly configPorts: { readonly block: BlockRef; readonly base: number; readonly count: number } | undefined;
  readonly hostBridge: BlockRef;
  readonly devices: readonly VirtioWiring[];
}

/** What the transport has to know of a device. */
export function virtioDevice(wiring: VirtioWiring): VirtioDevice {
  switch (wiring.kind) {
    case "console":
      return consoleDevice(wiring.device.size);
    case "block":
      return blockDevice(wiring.device.settings);
    case "rng":
      return rngDevice;
  }
}

/** One thread's instances of PCI segment 0 and its functions, over the blocks that all threads share. */
export class PciDevices {
  readonly #wiring: PciWiring;
  readonly #segment: PciSegment;
  readonly #configPorts: PciConfigPorts | undefined;
  readonly #hostBridge: HostBridge;
  readonly #functions = new Map<string, VirtioPciFunction>();

  constructor(
    wiring: PciWiring,
    host: { readonly router: MsiRouter; readonly ioEventFds: IoEventFds; readonly notify: NoticeListener },
  ) {
    this.#wiring = wiring;
    this.#segment = new PciSegment(wiring.segment);
    this.#hostBridge = new HostBridge(wiring.hostBridge);
    this.#segment.add(0, this.#hostBridge);
    if (wiring.configPorts !== undefined)
      this.#configPorts = new PciConfigPorts(wiring.configPorts.block, this.#segment);
    for (const entry of wiring.devices) {
      const { transport } = entry.device;
      const fn = new VirtioPciFunction(virtioDevice(entry), transport, { ...host, mover: this.#segment });
      this.#segment.add(entry.slot, fn);
      this.#functions.set(transport.id, fn);
    }
  }

  /** The function of the device with that id. */
  virtio(id: string): VirtioPciFunction | undefined {
    return this.#functions.get(id);
  }

  /** The devices with state of their own, by the names that a saved machine uses. */
  get stateful(): Readonly<Record<string, StatefulDevice>> {
    return {
      ...(this.#configPorts === undefined ? {} : { pciConfigPorts: this.#configPorts }),
      hostBridge: this.#hostBridge,
      ...Object.fromEntries(this.#functions),
    };
  }

  /** Notifies drivers and back ends of all queues once, after a restore: either may have waited for the other. */
  nudge(): void {
    for (const fn of this.#functions.values()) fn.nudge();
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
