import { AcpiPower } from "../../devices/acpi-power.ts";
import type { Bus } from "../../devices/bus.ts";
import { type ByteSink, nullSink } from "../../devices/byte-sink.ts";
import { OutputRing } from "../../devices/chardev/output-ring.ts";
import type { OutputWiring } from "../../devices/chardev/wiring.ts";
import { Cmos } from "../../devices/cmos.ts";
import { CpuHotplug } from "../../devices/cpu-hotplug.ts";
import { DebugConsole } from "../../devices/debug-console.ts";
import { DebugPort } from "../../devices/debug-port.ts";
import type { StatefulDevice } from "../../devices/device.ts";
import { FirmwareDebug } from "../../devices/firmware-debug.ts";
import { FwCfg } from "../../devices/fw-cfg.ts";
import { Ged } from "../../devices/ged.ts";
import { I8042 } from "../../devices/i8042.ts";
import { IoApic } from "../../devices/ioapic.ts";
import type { MachineRequests, MsiRouter } from "../../devices/lines.ts";
import { PciHotplug } from "../../devices/pci-hotplug.ts";
import { PmTimer } from "../../devices/pm-timer.ts";
import { Serial } from "../../devices/serial.ts";
import { CRB_BYTES, CrbTpm } from "../../devices/tpm/crb.ts";
import { signalEventFd } from "../../host/eventfd.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { blockAt } from "../../threads/block-ref.ts";
import { GSI, IO_APIC_BASE, PORTS, TPM_BASE } from "./platform.ts";
import type { PlatformWiring } from "./platform-wiring.ts";

const IO_APIC_BYTES = 0x20;
const GED_BYTES = 1;
const CPU_HOTPLUG_BYTES = 12;
const PCI_HOTPLUG_BYTES = 16;

/** What the devices of one thread need of it. */
export interface PlatformServices {
  readonly machine: MachineRequests;
  readonly router: MsiRouter;
  /** What devices may read and write on behalf of the guest. */
  readonly memory: GuestMemory;
  readonly log: (message: string) => void;
  /** The guest has given up what is in a PCI slot, if anything. */
  readonly ejectSlot: (segment: number, slot: number) => void;
}

/** One thread's instances of the platform devices, over the blocks that all threads share. */
export class PlatformDevices {
  readonly ioapic: IoApic;
  readonly ged: Ged;
  readonly serial: Serial | undefined;
  readonly cpuHotplug: CpuHotplug;
  readonly pciHotplug: PciHotplug;
  readonly #cmos: Cmos;
  readonly #pmTimer: PmTimer;
  readonly #tpm: CrbTpm | undefined;
  readonly #fwCfg: FwCfg | undefined;
  readonly #wiring: PlatformWiring;
  readonly #services: PlatformServices;

  constructor(wiring: PlatformWiring, services: PlatformServices) {
    const { cmos, ioapic, ged, cpuHotplug, pciHotplug, pmTimer, serial, startNs, tpm, fwCfg } = wiring;
    this.#wiring = wiring;
    this.#services = services;
    this.ioapic = new IoApic(blockAt(ioapic.block), ioapic.pins, services.router);
    this.ged = new Ged(blockAt(ged.block), this.ioapic.line(GSI.events));
    this.#cmos = new Cmos(blockAt(cmos.block), cmos.memory, services.machine);
    this.cpuHotplug = new CpuHotplug(blockAt(cpuHotplug.block), cpuHotplug.bootVcpus, cpuHotplug.maxVcpus);
    this.pciHotplug = new PciHotplug(blockAt(pciHotplug.block), pciHotplug.segments, services.ejectSlot);
    this.#pmTimer = new PmTimer(blockAt(pmTimer), startNs);
    if (fwCfg !== undefined) this.#fwCfg = new FwCfg(fwCfg, services.memory);
    if (tpm !== undefined) this.#tpm = new CrbTpm(tpm, TPM_BASE);
    if (serial !== undefined)
      this.serial = new Serial(blockAt(serial.block), sink(serial.output), this.ioapic.line(GSI.serial), () =>
        signalEventFd(serial.wakeFd),
      );
  }

  /** The devices with state of their own, by the names that a saved machine uses. */
  get stateful(): Readonly<Record<string, StatefulDevice>> {
    return {
      ioapic: this.ioapic,
      ged: this.ged,
      cmos: this.#cmos,
      cpuHotplug: this.cpuHotplug,
      pciHotplug: this.pciHotplug,
      pmTimer: this.#pmTimer,
      ...(this.serial === undefined ? {} : { serial: this.serial }),
      ...(this.#tpm === undefined ? {} : { tpm: this.#tpm }),
      ...(this.#fwCfg === undefined ? {} : { fwCfg: this.#fwCfg }),
    };
  }

  /** Puts the devices on this thread's buses. @throws BusConflictError */
  attach(ports: Bus, mmio: Bus): void {
    const { machine, log } = this.#services;
    const { ged, cpuHotplug, pciHotplug, debugConsole, firmwareDebug, startNs } = this.#wiring;
    ports.add(PORTS.i8042.base, PORTS.i8042.count, new I8042(machine));
    ports.add(PORTS.cmos.base, PORTS.cmos.count, this.#cmos);
    ports.add(PORTS.debug, 1, new DebugPort(startNs, log));
    ports.add(PORTS.firmwareDebug, 1, new FirmwareDebug(sink(firmwareDebug)));
    ports.add(PORTS.power, 4, new AcpiPower(machine));
    ports.add(PORTS.pmTimer, 4, this.#pmTimer);
    if (this.serial !== undefined) ports.add(PORTS.serial.base, PORTS.serial.count, this.serial);
    if (debugConsole !== undefined) ports.add(debugConsole.port, 1, new DebugConsole(sink(debugConsole.output)));
    if (this.#fwCfg !== undefined) ports.add(PORTS.fwCfg.base, PORTS.fwCfg.count, this.#fwCfg);
    if (this.#tpm !== undefined) mmio.add(TPM_BASE, CRB_BYTES, this.#tpm);
    mmio.add(IO_APIC_BASE, IO_APIC_BYTES, this.ioapic);
    mmio.add(ged.base, GED_BYTES, this.ged);
    mmio.add(cpuHotplug.base, CPU_HOTPLUG_BYTES, this.cpuHotplug);
    mmio.add(pciHotplug.base, PCI_HOTPLUG_BYTES, this.pciHotplug);
  }
}

function sink(output: OutputWiring | undefined): ByteSink {
  return output === undefined ? nullSink : new OutputRing(output);
}
