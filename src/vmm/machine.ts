import type { VmConfig } from "../config/schema/vm.ts";
import { GedEvent } from "../devices/ged.ts";
import { IOAPIC_PINS } from "../devices/ioapic.ts";
import type { Irqfd, MachineRequests } from "../devices/lines.ts";
import { ignoreNotices } from "../devices/notices.ts";
import { PciConfigPorts } from "../devices/pci/config-ports.ts";
import { HostBridge } from "../devices/pci/host-bridge.ts";
import { PciSegment } from "../devices/pci/segment.ts";
import { NetState } from "../devices/virtio/net/device.ts";
import { GsiRouting } from "../hypervisor/kvm/gsi-routing.ts";
import type { KvmSystem } from "../hypervisor/kvm/system.ts";
import { KvmVm } from "../hypervisor/kvm/vm.ts";
import { KVM_IDENTITY_MAP, KVM_TSS } from "../machine/x86_64/layout.ts";
import { MachineDevices } from "../machine/x86_64/machine-devices.ts";
import type { MachineWiring } from "../machine/x86_64/machine-wiring.ts";
import { PORTS } from "../machine/x86_64/platform.ts";
import { wirePlatform } from "../machine/x86_64/platform-wiring.ts";
import { DeviceMemory } from "../memory/device-memory.ts";
import { GuestMemory, type RamRegion } from "../memory/guest-memory.ts";
import { GuestRam, RamError } from "../memory/ram.ts";
import { SharedArena } from "../threads/arena.ts";
import { type BlockRef, refTo } from "../threads/block-ref.ts";
import { logger } from "../threads/log.ts";
import type { Consoles } from "./consoles/consoles.ts";
import { Descriptors } from "./descriptors.ts";
import { VmPciDevices } from "./devices/pci-devices.ts";
import type { PlacedDevice } from "./devices/placed-device.ts";
import { RateLimiters } from "./devices/rate-limiters.ts";
import { wireFwCfg } from "./fw-cfg.ts";
import { IrqfdAllocator } from "./irqfds.ts";
import type { MachinePlan } from "./machine-plan.ts";
import { MemorySlots } from "./memory-slots.ts";
import { connectTpm } from "./tpm.ts";
import { VmThread } from "./vm-thread.ts";

const log = logger("machine");

/** Address space for the blocks of all devices and threads; only what is used takes memory. */
const ARENA_BYTES = 64 << 20;

/** No access of a guest is served on the main thread, so nothing asks for these there. */
const NO_REQUESTS: MachineRequests = { reset: () => undefined, powerOff: () => undefined };

/**
 * What a VM is made of, owned by the main thread: the KVM VM, RAM, the shared blocks of its devices and the descriptors
 * among them. Threads get its wiring.
 */
export class Machine implements Disposable {
  readonly arena: SharedArena;
  readonly kvm: KvmVm;
  readonly memory: GuestMemory;
  readonly wiring: MachineWiring;
  /** The main thread's own instances. */
  readonly devices: MachineDevices;
  /** The thread of all devices with little traffic. */
  readonly ioThread: VmThread;
  readonly pci: VmPciDevices;
  readonly #resources: DisposableStack;

  /**
   * @param saved the state of the devices of a machine that was built alike; as after power-on without
   * @throws SysError, RamError and the devices' own errors; nothing is left behind then
   */
  constructor(
    config: VmConfig,
    system: KvmSystem,
    plan: MachinePlan,
    consoles: Consoles,
    saved: Readonly<Record<string, Uint8Array>> | undefined,
  ) {
    using resources = new DisposableStack();
    this.arena = resources.adopt(new SharedArena(ARENA_BYTES), (arena) => arena.close());
    const descriptors = resources.adopt(new Descriptors(), (open) => open.close());
    this.kvm = resources.adopt(new KvmVm(system.createVm()), (kvm) => kvm.close());
    this.kvm.enableSplitIrqchip(IOAPIC_PINS);
    if (plan.x2apic) this.kvm.enableX2apicIds();
    this.kvm.setTssAndIdentityMap(KVM_TSS, KVM_IDENTITY_MAP);

    const backing = { ...config.memory, hugepageSize: config.memory.hugepage_size };
    const ram = resources.adopt(new GuestRam(plan.ram, backing), (regions) => regions.close());
    this.memory = new GuestMemory(ram.regions);
    const memorySlots = new MemorySlots(this.kvm);
    for (const region of ram.regions) giveRam(memorySlots, region);

    const routing = refTo(this.arena.allocate(GsiRouting.sizeOf(IrqfdAllocator.capacity)));
    const irqfds = new IrqfdAllocator(this.kvm);
    const irqfd = (): Irqfd => resources.adopt(irqfds.allocate(), (given) => irqfds.free(given));
    this.ioThread = new VmThread("io", this.arena);
    resources.adopt(this.ioThread, ({ control }) => control.close());
    const { serial, debugConsole } = consoles;
    const platform = wirePlatform(this.arena, irqfd, {
      memory: { below4g: plan.ramBelow4g, above4g: plan.ramAbove4g },
      bootVcpus: config.cpus.boot_vcpus,
      maxVcpus: config.cpus.max_vcpus,
      segments: plan.segments.length,
      controllers: plan.space.controllers,
      serial: serial && { ...serial, wakeFd: this.ioThread.control.wakeFd },
      debugConsole: debugConsole?.output && {
        port: config.debug_console?.iobase ?? DEBUG_CONSOLE_PORT,
        output: debugConsole.output,
      },
      firmwareDebug: consoles.firmwareDebug,
      fwCfg:
        config.payload?.fw_cfg_config &&
        wireFwCfg(config, config.payload.fw_cfg_config, { plan, arena: this.arena, descriptors }),
      tpm: config.tpm && connectTpm(config.tpm.socket, descriptors),
    });
    const [segment] = plan.segments;
    if (segment === undefined) throw new Error("a machine has at least one PCI segment");
    const deviceMemory = refTo(this.arena.allocate(DeviceMemory.blockSize));
    this.pci = resources.use(
      new VmPciDevices(config, segment, {
        irqfds,
        memorySlots,
        deviceMemory: new DeviceMemory(deviceMemory),
        // A stack of its own: `resources` is another one when devices come later.
        vmOwner: resources.use(new DisposableStack()),
        ioThread: this.ioThread,
        consoles,
        linkDown: (id) => this.devices.pci.virtio(id)?.changeState(NetState.LINK_DOWN, 1),
        rateLimiters: new RateLimiters(this.arena, config.rate_limit_groups),
      }),
    );
    const block = (size: number): BlockRef => refTo(this.arena.allocate(size));
    this.wiring = {
      vmFd: this.kvm.fd,
      routing,
      ram: ram.regions,
      deviceMemory,
      platform,
      pci: {
        segment: { number: 0, block: block(PciSegment.blockSize), memory32: segment.mmio32, memory64: segment.mmio64 },
        ecamBase: segment.ecamBase,
        configPorts: { block: block(PciConfigPorts.blockSize), ...PORTS.pciConfiguration },
        hostBridge: block(HostBridge.blockSize),
      },
      chardevs: consoles.chardevs,
    };
    this.devices = new MachineDevices(this.wiring, { machine: NO_REQUESTS, notify: ignoreNotices, log: log.info });
    for (const device of this.pci.placed) this.#plug(device, false);
    if (saved === undefined) this.devices.reset();
    else this.devices.restore(saved);
    this.#resources = resources.move();
  }

  /**
   * Puts a device that was placed into its slot while the guest runs, and tells the guest.
   * @throws BarConflictError, SysError; the device is not connected then
   */
  plug(device: PlacedDevice): void {
    const { platform } = this.devices;
    this.#plug(device, true);
    platform.pciHotplug.plugged(SEGMENT, device.slot);
    platform.ged.notify(GedEvent.PCI_HOTPLUG);
  }

  #plug(device: PlacedDevice, running: boolean): void {
    const { pci } = this.devices;
    const fn = pci.make(device.wiring);
    pci.plug(device.slot, fn, device.encoded, running);
    device.plugged(fn, () => pci.vacate(device.slot));
  }

  /** Asks the guest to give a device up. */
  requestEject({ slot }: PlacedDevice): void {
    const { pciHotplug, ged } = this.devices.platform;
    pciHotplug.requestEject(SEGMENT, slot);
    ged.notify(GedEvent.PCI_HOTPLUG);
  }

  /** Gives everything back. No thread may use the machine any more. */
  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}

const DEBUG_CONSOLE_PORT = 0xe9;
/** The PCI segment that all devices are in. */
const SEGMENT = 0;

/** @throws RamError: KVM limits the size of a region, and needs memory in proportion to it */
function giveRam(slots: MemorySlots, region: RamRegion): void {
  try {
    slots.add(region);
  } catch (cause) {
    throw new RamError(`KVM does not take guest RAM of ${region.size} bytes: give --memory a smaller size`, { cause });
  }
}
