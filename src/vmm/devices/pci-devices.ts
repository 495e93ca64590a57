import { UnsupportedError } from "../../config/errors.ts";
import type { VmConfig } from "../../config/schema/vm.ts";
import type { AddressRange, BarKind } from "../../devices/pci/bar.ts";
import { BarAllocator } from "../../devices/pci/bar-allocator.ts";
import type { PciSegment } from "../../machine/acpi/topology.ts";
import { isVirtio } from "../../machine/pci-devices.ts";
import type { NewDevice } from "../control/device-kinds.ts";
import type { ServedDevice } from "../jobs.ts";
import { placeBalloon } from "./balloon.ts";
import { type Arrival, type BarSpace, PciBuilder, type PciResources, type Placement } from "./builder.ts";
import { placeConsole } from "./console.ts";
import { DeviceIds } from "./device-ids.ts";
import { placeDisk } from "./disk.ts";
import { placeIvshmem } from "./ivshmem.ts";
import { placeNet } from "./net.ts";
import { PciSlots } from "./pci-slots.ts";
import { PlacedDevice } from "./placed-device.ts";
import { placePmem } from "./pmem.ts";
import { placePvmemcontrol } from "./pvmemcontrol.ts";
import { placePvpanic } from "./pvpanic.ts";
import { placeRng } from "./rng.ts";
import { placeRtc } from "./rtc.ts";
import { placeVsock } from "./vsock.ts";
import { placeWatchdog } from "./watchdog.ts";

type Place = (builder: PciBuilder) => void;

/** The PCI devices of a VM: those there are at boot, and those that come and go while it runs. */
export class VmPciDevices implements Disposable {
  readonly #segment: PciSegment;
  readonly #resources: PciResources;
  readonly #placed: PlacedDevice[] = [];
  /** Those that left the guest though they cannot be removed: other threads may go on using them. */
  readonly #retired: PlacedDevice[] = [];

  /**
   * Places the devices of a configuration. Their order decides their slots, which guests rely on (machine-x86_64.md, 6.2).
   * @throws PciSlotError, BarSpaceError, SysError and the devices' own errors; nothing is left behind then
   */
  constructor(config: VmConfig, segment: PciSegment, resources: Omit<PciResources, "ids" | "slots">) {
    const { console, disks = [], net: nets = [], rng, pmem = [] } = config;
    const { vsock, balloon, watchdog, rtc, pvmemcontrol, pvpanic, ivshmem } = config;
    this.#segment = segment;
    const single = [console, rng, vsock ?? {}, balloon ?? {}, rtc ?? {}, ivshmem ?? {}];
    const chosen: readonly Placement[] = [...single, ...disks, ...nets, ...pmem];
    const slots = new PciSlots();
    for (const { pci_device_id: slot, id = "a device" } of chosen) if (slot !== undefined) slots.setAside(slot, id);
    this.#resources = { ...resources, slots, ids: new DeviceIds(chosen.flatMap(({ id }) => id ?? [])) };
    const bars = barSpace(segment);
    const add = (place: Place, member?: NewDevice["member"]): void => {
      this.#place(place, "at-boot", bars, member);
    };
    try {
      add((builder) => placeConsole(builder, console));
      for (const disk of disks) add((builder) => placeDisk(builder, disk), "disks");
      for (const net of nets) add((builder) => placeNet(builder, net), "net");
      add((builder) => placeRng(builder, rng));
      for (const device of pmem) add((builder) => placePmem(builder, device), "pmem");
      if (vsock !== undefined) add((builder) => placeVsock(builder, vsock), "vsock");
      if (balloon !== undefined) add((builder) => placeBalloon(builder, balloon));
      if (watchdog) add(placeWatchdog);
      if (rtc !== undefined) add((builder) => placeRtc(builder, rtc));
      if (pvmemcontrol !== undefined) add(placePvmemcontrol);
      if (pvpanic) add(placePvpanic);
      if (ivshmem !== undefined) add((builder) => placeIvshmem(builder, ivshmem));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** All that are there, in the order in which they came. */
  get placed(): readonly PlacedDevice[] {
    return this.#placed;
  }

  /** Those that the thread of all devices with little traffic serves. */
  get onIoThread(): readonly ServedDevice[] {
    return this.#placed
      .filter(({ threads }) => threads.length === 0)
      .flatMap(({ wiring, departure }) => (isVirtio(wiring) ? { wiring, departure } : []));
  }

  /** The device with that identifier, or with that of its virtio-pci function. */
  find(id: string): PlacedDevice | undefined {
    return this.#placed.find((device) => device.id === id || device.transportId === id);
  }

  /** The device in a slot. */
  at(slot: number): PlacedDevice | undefined {
    return this.#placed.find((device) => device.slot === slot);
  }

  /**
   * Places a device that is to join the running machine, where it is in nobody's way.
   * @throws UnsupportedError, DeviceIdInUseError and as the constructor does; nothing has changed then
   */
  place(device: NewDevice): PlacedDevice {
    const taken = this.#placed.flatMap(({ ranges }) => ranges);
    const bars = barSpace(this.#segment, taken);
    const placed = this.#place(placeOf(device), "hot-plugged", bars, device.member);
    if (placed === undefined) throw new UnsupportedError([`adding to "${device.member}" of a booted VM`]);
    return placed;
  }

  /**
   * Forgets a device that the guest has given up, and gives back all that it holds: for one that can be removed, now, when no
   * thread uses it any more; for others with the VM.
   */
  remove(device: PlacedDevice): void {
    const at = this.#placed.indexOf(device);
    if (at >= 0) this.#placed.splice(at, 1);
    if (device.isRemovable) device[Symbol.dispose]();
    else {
      device.vacate();
      this.#retired.push(device);
    }
  }

  /** Gives everything back. */
  [Symbol.dispose](): void {
    for (const device of [...this.#placed.splice(0), ...this.#retired.splice(0)]) device[Symbol.dispose]();
  }

  /** @returns the device, when there is something to place */
  #place(place: Place, arrival: Arrival, bars: BarSpace, member?: NewDevice["member"]): PlacedDevice | undefined {
    using owner = new DisposableStack();
    const builder = new PciBuilder(this.#resources, bars, arrival, owner);
    place(builder);
    const { wiring } = builder;
    if (wiring === undefined) return undefined;
    const placed = new PlacedDevice(builder, wiring, member, owner.move());
    this.#placed.push(placed);
    return placed;
  }
}

/** How to place a device that is plugged in. @throws UnsupportedError */
function placeOf(device: NewDevice): Place {
  switch (device.member) {
    case "disks":
      return (builder) => placeDisk(builder, device.config);
    case "net":
      return (builder) => placeNet(builder, device.config);
    case "pmem":
      return (builder) => placePmem(builder, device.config);
    case "vsock":
      return (builder) => placeVsock(builder, device.config);
    default:
      throw new UnsupportedError([`adding to "${device.member}" of a booted VM`]);
  }
}

/** What is free of a segment's apertures beside what is taken. */
function barSpace({ mmio32, mmio64 }: PciSegment, taken: readonly (AddressRange & { kind: BarKind })[] = []): BarSpace {
  const bars32 = new BarAllocator(mmio32);
  const bars64 = new BarAllocator(mmio64);
  for (const range of taken) (range.kind === "memory32" ? bars32 : bars64).reserve(range);
  return { bars32, bars64 };
}
