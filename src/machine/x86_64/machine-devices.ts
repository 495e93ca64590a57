import type { Bus } from "../../devices/bus.ts";
import type { StatefulDevice } from "../../devices/device.ts";
import type { MachineRequests } from "../../devices/lines.ts";
import type { NoticeListener } from "../../devices/notices.ts";
import { GsiRouting } from "../../hypervisor/kvm/gsi-routing.ts";
import { KvmVm } from "../../hypervisor/kvm/vm.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { blockAt } from "../../threads/block-ref.ts";
import { PciDevices } from "../pci-devices.ts";
import { type MachineWiring, reachableMemory } from "./machine-wiring.ts";
import { PlatformDevices } from "./platform-devices.ts";

/** One thread's instances of all devices of a machine, over the blocks that all threads share. */
export class MachineDevices {
  readonly platform: PlatformDevices;
  readonly pci: PciDevices;

  constructor(
    wiring: MachineWiring,
    services: {
      readonly machine: MachineRequests;
      readonly notify: NoticeListener;
      readonly log: (message: string) => void;
    },
  ) {
    const router = new GsiRouting(wiring.vmFd, blockAt(wiring.routing));
    const vm = new KvmVm(wiring.vmFd);
    const ioEventFds = {
      assign: (gpa: number, eventFd: number) => vm.assignIoEventFd(gpa, eventFd),
      deassign: (gpa: number, eventFd: number) => vm.deassignIoEventFd(gpa, eventFd),
    };
    const memorySlots = {
      fill: (slot: number, gpa: number, size: number, hva: number) => vm.setMemoryRegion(slot, gpa, size, hva),
      clear: (slot: number) => vm.setMemoryRegion(slot, 0, 0, 0),
    };
    this.pci = new PciDevices(wiring.pci, {
      router,
      ioEventFds,
      memorySlots,
      ram: new GuestMemory(wiring.ram),
      notify: services.notify,
    });
    const ejectSlot = (segment: number, slot: number): void => {
      if (segment === 0 && this.pci.eject(slot)) services.notify({ kind: "ejected", slot });
    };
    this.platform = new PlatformDevices(wiring.platform, {
      ...services,
      router,
      memory: reachableMemory(wiring),
      ejectSlot,
    });
  }

  /** The devices with state of their own, by the names that a saved machine uses. */
  get stateful(): Readonly<Record<string, StatefulDevice>> {
    return { ...this.platform.stateful, ...this.pci.stateful };
  }

  /** Puts every device in its state after power-on. For the thread that builds the machine. */
  reset(): void {
    for (const device of Object.values(this.stateful)) device.reset();
  }

  /** Copies out the state of every device. No vCPU and no I/O thread may run. */
  save(): Record<string, Uint8Array> {
    return Object.fromEntries(Object.entries(this.stateful).map(([name, device]) => [name, device.save()]));
  }

  /**
   * Puts the state of every device back into a machine that was built alike.
   * @throws RangeError when `saved` is not the state of such a machine
   */
  restore(saved: Readonly<Record<string, Uint8Array>>): void {
    for (const [name, device] of Object.entries(this.stateful)) {
      const state = saved[name];
      if (state === undefined) throw new RangeError(`the saved machine has no device ${name}`);
      device.restore(state);
    }
  }

  /** Puts the devices on this thread's buses. @throws BusConflictError */
  attach(ports: Bus, mmio: Bus): void {
    this.platform.attach(ports, mmio);
    this.pci.attach(ports, mmio);
  }
}
