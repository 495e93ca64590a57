import { deserialize, serialize } from "bun:jsc";
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
import { Pvmemcontrol, type PvmemcontrolWiring } from "../devices/pvmemcontrol/device.ts";
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
import type { GuestMemory } from "../memory/guest-memory.ts";
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
  | { readonly kind: "pvmemcontrol"; readonly slot: number; readonly device: PvmemcontrolWiring }
  | { readonly kind: "ivshmem"; readonly slot: number; readonly device: IvshmemWiring };

/** Any PCI function that can be plugged into a slot, as plain data. */
export type FunctionWiring = VirtioWiring | PlainWiring;

export const isVirtio = (wiring: FunctionWiring): wiring is VirtioWiring => "transport" in wiring.device;

/** The identifier of the device. */
export const idOf = (wiring: FunctionWiring): string =>
  isVirtio(wiring) ? wiring.device.transport.id : wiring.device.id;

/** A wiring as bytes, for threads that are not waiting for messages. */
export const encodeWiring = (wiring: FunctionWiring): Uint8Array => new Uint8Array(serialize(wiring));

/** @param bytes what `encodeWiring` made, in memory of any kind */
const decodeWiring = (bytes: Uint8Array): FunctionWiring => deserialize(bytes.slice().buffer);

/** PCI segment 0 as plain data, but for what is plugged into its slots. */
export interface PciWiring {
  readonly segment: PciSegmentWiring;
  readonly ecamBase: number;
  /** Configuration mechanism 1, where the machine has ports: its block. */
  readonly configPorts: { readonly block: BlockRef; readonly base: number; readonly count: number } | undefined;
  readonly hostBridge: BlockRef;
}

/** What the functions of one thread reach of it. */
interface PciHost {
  readonly router: MsiRouter;
  readonly ioEventFds: IoEventFds;
  readonly memorySlots: MemorySlots;
  readonly ram: GuestMemory;
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

/** A function as the machine builds, saves and restores it. */
export type MachineFunction = VirtioPciFunction | PlainFunction;

/** A function that is no virtio device. */
function plainFunction(wiring: PlainWiring, host: PciHost & { readonly mover: BarMover }): PlainFunction {
  switch (wiring.kind) {
    case "pvpanic":
      return new Pvpanic(wiring.device, host);
    case "pvmemcontrol":
      return new Pvmemcontrol(wiring.device, host);
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
  readonly #host: PciHost & { readonly mover: BarMover };
  /** What is known of the functions in the slots, as long as they are. */
  readonly #known = new WeakMap<PciFunction, { readonly id: string; readonly fn: MachineFunction }>();

  constructor(wiring: PciWiring, services: PciHost) {
    this.#wiring = wiring;
    this.#segment = new PciSegment(wiring.segment, (bytes) => this.make(decodeWiring(bytes)));
    this.#host = { ...services, mover: this.#segment };
    this.#hostBridge = new HostBridge(wiring.hostBridge);
    this.#segment.add(0, this.#hostBridge);
    if (wiring.configPorts !== undefined)
      this.#configPorts = new PciConfigPorts(wiring.configPorts.block, this.#segment);
  }

  /** This thread's instance of a function. */
  make(wiring: FunctionWiring): MachineFunction {
    const fn = isVirtio(wiring)
      ? new VirtioPciFunction(virtioDevice(wiring), wiring.device.transport, this.#host)
      : plainFunction(wiring, this.#host);
    this.#known.set(fn, { id: idOf(wiring), fn });
    return fn;
  }

  /**
   * Plugs a function into its slot, for all threads.
   * @param fn this thread's instance, from `make`
   * @param encoded what `encodeWiring` made of its wiring, in memory that stays until no thread can use the function
   * @param running whether the guest is there already: the function joins as after power-on
   * @throws PciSlotError, BarConflictError, SysError; the function is not connected then
   */
  plug(slot: number, fn: MachineFunction, encoded: BlockRef, running = false): void {
    this.#segment.plug(slot, fn, encoded, running ? () => fn.reset() : undefined);
  }

  /** Takes a function out of its slot, for all threads: `PciSegment.eject`. */
  eject(slot: number): boolean {
    return this.#segment.eject(slot);
  }

  /** Frees the slot and addresses of an ejected function: `PciSegment.vacate`. */
  vacate(slot: number): void {
    this.#segment.vacate(slot);
  }

  /** The function of the virtio device with that id. */
  virtio(id: string): VirtioPciFunction | undefined {
    const fn = this.function(id);
    return fn instanceof VirtioPciFunction ? fn : undefined;
  }

  /** The function of the device with that id, of whatever kind. */
  function(id: string): MachineFunction | undefined {
    return this.#plugged.find((known) => known.id === id)?.fn;
  }

  /** The devices with state of their own, by the names that a saved machine uses. */
  get stateful(): Readonly<Record<string, StatefulDevice>> {
    return {
      ...(this.#configPorts === undefined ? {} : { pciConfigPorts: this.#configPorts }),
      hostBridge: this.#hostBridge,
      ...Object.fromEntries(this.#plugged.map(({ id, fn }) => [id, fn])),
    };
  }

  /** Notifies drivers and back ends of all queues once, after a restore: either may have waited for the other. */
  nudge(): void {
    for (const { fn } of this.#plugged) if (fn instanceof VirtioPciFunction) fn.nudge();
  }

  get #plugged() {
    return this.#segment.functions.flatMap((fn) => (fn && this.#known.get(fn)) ?? []);
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
