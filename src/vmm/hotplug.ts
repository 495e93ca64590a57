import { prepareImage } from "../block/prepare-image.ts";
import { logger } from "../threads/log.ts";
import type { NewDevice } from "./control/device-kinds.ts";
import { RemovalNotAllowedError, UnknownDeviceError, VmIsOverError } from "./control/errors.ts";
import type { DeviceThreads } from "./device-threads.ts";
import type { PlacedDevice } from "./devices/placed-device.ts";
import type { Machine } from "./machine.ts";

const log = logger("hotplug");

/** The VM whose devices come and go. */
export interface HotplugVm {
  readonly machine: Machine;
  readonly threads: DeviceThreads;
  readonly isPaused: boolean;
  /** Waits until every vCPU has ended the access that it was at. */
  quiesceVcpus(): void;
}

/**
 * Plugs devices into a running machine and takes them out again, one after the other.
 *
 * A device joins when it is complete and its threads serve: vCPUs are not stopped for that, each finds the new function
 * when the guest first looks (`PciSegment`). It leaves when the guest ejects it: no vCPU finds it then, and when each has
 * been out of the guest once, none can still be in the middle of an access to it, and its memory, threads and descriptors
 * are given back.
 */
export class Hotplug {
  readonly #vm: HotplugVm;
  readonly #onRemoved: (device: PlacedDevice) => void;
  /** The last of the changes under way. */
  #last: Promise<unknown> = Promise.resolve();
  #isOver = false;
  readonly #over = Promise.withResolvers<void>();
  /** Slots whose devices the guest gave up just before a pause. */
  readonly #deferred: number[] = [];

  /** @param onRemoved told of each device that the guest gave up, when all that it held is free */
  constructor(vm: HotplugVm, onRemoved: (device: PlacedDevice) => void) {
    this.#vm = vm;
    this.#onRemoved = onRemoved;
  }

  /**
   * Plugs a device in and tells the guest.
   * @throws VmIsOverError, ThreadError and the device's own errors; everything is as before then
   */
  plug(device: NewDevice): Promise<PlacedDevice> {
    return this.#inTurn(async () => {
      const { machine, threads } = this.#vm;
      if (device.member === "disks" && device.config.path !== undefined) await prepareImage(device.config.path);
      if (this.#isOver) throw new VmIsOverError();
      const placed = machine.pci.place(device);
      try {
        await threads.startDevice(placed);
        if (this.#isOver) throw new VmIsOverError();
        if (this.#vm.isPaused) threads.pause();
        machine.plug(placed);
      } catch (error) {
        await threads.end(placed.threads);
        machine.pci.remove(placed);
        throw error;
      }
      log.info(`${placed.id} is in slot ${placed.slot}`);
      return placed;
    });
  }

  /**
   * Asks the guest to give a device up, again if need be.
   * @param id of the device, or of the virtio-pci function it is behind
   * @throws UnknownDeviceError, RemovalNotAllowedError
   */
  requestEject(id: string): void {
    const { machine } = this.#vm;
    const device = machine.pci.find(id);
    if (device === undefined) throw new UnknownDeviceError(id);
    if (!device.isRemovable) throw new RemovalNotAllowedError(id);
    machine.requestEject(device);
  }

  /** The guest has given up the device in a slot, asked or not: no vCPU finds it any more. @throws ThreadError */
  ejected(slot: number): Promise<void> {
    return this.#inTurn(async () => {
      const { machine, threads } = this.#vm;
      const device = machine.pci.at(slot);
      // What is left when the VM is over goes with it.
      if (device === undefined || this.#isOver) return;
      // A parked thread lets nothing go, and what comes next in turn cannot wait until it does.
      if (device.departure !== undefined && this.#vm.isPaused) {
        this.#deferred.push(slot);
        return;
      }
      this.#vm.quiesceVcpus();
      device.unplug();
      const left = threads.letGo(machine.ioThread, device);
      await threads.end(device.threads);
      await Promise.race([left, this.#over.promise]);
      if (this.#isOver) return;
      machine.devices.platform.pciHotplug.forget(0, slot);
      machine.pci.remove(device);
      log.info(`the guest gave up ${device.id} in slot ${slot}`);
      this.#onRemoved(device);
    });
  }

  /** The VM goes on after a pause. @throws ThreadError */
  async resumed(): Promise<void> {
    await Promise.all(this.#deferred.splice(0).map((slot) => this.ejected(slot)));
  }

  /** Lets nothing begin any more. Settles when nothing is under way. */
  async close(): Promise<void> {
    this.#isOver = true;
    this.#over.resolve();
    await this.#last;
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#last.then(change);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
