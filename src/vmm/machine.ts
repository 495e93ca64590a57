import type { VmConfig } from "../config/schema/vm.ts";
import { IOAPIC_PINS } from "../devices/ioapic.ts";
import type { MachineRequests } from "../devices/lines.ts";
import { createEventFd } from "../host/eventfd.ts";
import { GsiRouting } from "../hypervisor/kvm/gsi-routing.ts";
import type { KvmSystem } from "../hypervisor/kvm/system.ts";
import { KvmVm } from "../hypervisor/kvm/vm.ts";
import { KVM_IDENTITY_MAP, KVM_TSS } from "../machine/x86_64/layout.ts";
import type { MachineWiring } from "../machine/x86_64/machine-wiring.ts";
import { PlatformDevices } from "../machine/x86_64/platform-devices.ts";
import { wirePlatform } from "../machine/x86_64/platform-wiring.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { GuestRam } from "../memory/ram.ts";
import { SharedArena } from "../threads/arena.ts";
import { blockAt, refTo } from "../threads/block-ref.ts";
import { logger } from "../threads/log.ts";
import { type ConsoleEnds, openConsole } from "./console-files.ts";
import { Descriptors } from "./descriptors.ts";
import { IrqfdAllocator } from "./irqfds.ts";
import type { MachinePlan } from "./machine-plan.ts";

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
  readonly platform: PlatformDevices;
  readonly serial: ConsoleEnds | undefined;
  readonly #resources: DisposableStack;

  /** @throws SysError, RamError, ConsoleError and the devices' own errors; nothing is left behind then */
  constructor(config: VmConfig, system: KvmSystem, plan: MachinePlan) {
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
    ram.regions.forEach(({ gpa, size, hva }, slot) => {
      this.kvm.setMemoryRegion(slot, gpa, size, hva);
    });

    const routing = refTo(this.arena.allocate(GsiRouting.sizeOf(IrqfdAllocator.capacity)));
    const irqfds = new IrqfdAllocator(this.kvm, descriptors);
    this.serial = openConsole("--serial", config.serial, descriptors);
    const debugConsole = openConsole("--debug-console", config.debug_console ?? { mode: "Off" }, descriptors);
    this.wiring = {
      vmFd: this.kvm.fd,
      routing,
      ram: ram.regions,
      platform: wirePlatform(this.arena, irqfds.allocate, {
        memory: { below4g: plan.ramBelow4g, above4g: plan.ramAbove4g },
        bootVcpus: config.cpus.boot_vcpus,
        maxVcpus: config.cpus.max_vcpus,
        segments: plan.segments.length,
        controllers: plan.space.controllers,
        serial: this.serial && { outputFd: this.serial.outputFd, wakeFd: descriptors.own(createEventFd()) },
        debugConsole:
          debugConsole?.outputFd === undefined
            ? undefined
            : { port: config.debug_console?.iobase ?? DEBUG_CONSOLE_PORT, outputFd: debugConsole.outputFd },
      }),
    };
    this.platform = new PlatformDevices(this.wiring.platform, {
      machine: NO_REQUESTS,
      router: new GsiRouting(this.kvm.fd, blockAt(routing)),
      log: log.info,
    });
    this.platform.reset();
    this.#resources = resources.move();
  }

  /** Gives everything back. No thread may use the machine any more. */
  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}

const DEBUG_CONSOLE_PORT = 0xe9;
