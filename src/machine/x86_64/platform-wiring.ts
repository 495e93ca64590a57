import type { OutputWiring } from "../../devices/chardev/wiring.ts";
import { Cmos, type CmosMemory } from "../../devices/cmos.ts";
import { CpuHotplug } from "../../devices/cpu-hotplug.ts";
import type { FwCfgWiring } from "../../devices/fw-cfg.ts";
import { Ged } from "../../devices/ged.ts";
import { IOAPIC_PINS, IoApic } from "../../devices/ioapic.ts";
import type { Irqfd } from "../../devices/lines.ts";
import { PciHotplug } from "../../devices/pci-hotplug.ts";
import { PmTimer } from "../../devices/pm-timer.ts";
import { Serial } from "../../devices/serial.ts";
import { CrbTpm } from "../../devices/tpm/crb.ts";
import type { TpmWiring } from "../../devices/tpm/state.ts";
import { monotonicNs } from "../../host/clock.ts";
import type { SharedArena } from "../../threads/arena.ts";
import { type BlockRef, refTo } from "../../threads/block-ref.ts";

/** The platform devices as plain data: what any thread needs to make its own instances. */
export interface PlatformWiring {
  /** When the machine was created, in nanoseconds of the monotonic clock. */
  readonly startNs: number;
  readonly cmos: { readonly block: BlockRef; readonly memory: CmosMemory };
  readonly ioapic: { readonly block: BlockRef; readonly pins: readonly Irqfd[] };
  readonly ged: { readonly block: BlockRef; readonly base: number };
  readonly cpuHotplug: {
    readonly block: BlockRef;
    readonly base: number;
    readonly bootVcpus: number;
    readonly maxVcpus: number;
  };
  readonly pciHotplug: { readonly block: BlockRef; readonly base: number; readonly segments: number };
  readonly pmTimer: BlockRef;
  readonly serial: SerialWiring | undefined;
  readonly debugConsole: DebugConsoleWiring | undefined;
  /** Where firmware's debug text goes; nowhere when undefined. */
  readonly firmwareDebug: OutputWiring | undefined;
  readonly tpm: TpmWiring | undefined;
  readonly fwCfg: FwCfgWiring | undefined;
}

/** What the serial port is connected to. */
export interface SerialEnds {
  /** Where its output goes; nowhere when undefined. */
  readonly output: OutputWiring | undefined;
  /** Whether input from the same end is for it. */
  readonly takesInput: boolean;
  /** Signalled when there is room for input again. */
  readonly wakeFd: number;
}

/** The serial port. */
export interface SerialWiring extends SerialEnds {
  readonly block: BlockRef;
}

/** The debug console. */
export interface DebugConsoleWiring {
  readonly port: number;
  readonly output: OutputWiring;
}

/** What the platform's wiring follows from. */
export interface PlatformPlan {
  readonly memory: CmosMemory;
  readonly bootVcpus: number;
  readonly maxVcpus: number;
  readonly segments: number;
  readonly controllers: { readonly events: number; readonly cpuHotplug: number; readonly pciHotplug: number };
  readonly serial: SerialEnds | undefined;
  readonly debugConsole: DebugConsoleWiring | undefined;
  readonly firmwareDebug: OutputWiring | undefined;
  readonly tpm: Omit<TpmWiring, "block"> | undefined;
  readonly fwCfg: FwCfgWiring | undefined;
}

/**
 * Allocates the platform devices' blocks. Their state is not set yet: `Platform.reset` does that.
 * @param irqfd makes a GSI with its eventfd
 * @throws RangeError when the arena is full, SysError
 */
export function wirePlatform(arena: SharedArena, irqfd: () => Irqfd, plan: PlatformPlan): PlatformWiring {
  const block = (size: number): BlockRef => refTo(arena.allocate(size));
  const { controllers, serial, bootVcpus, maxVcpus, segments } = plan;
  return {
    startNs: monotonicNs(),
    cmos: { block: block(Cmos.blockSize), memory: plan.memory },
    ioapic: { block: block(IoApic.blockSize), pins: Array.from({ length: IOAPIC_PINS }, irqfd) },
    ged: { block: block(Ged.blockSize), base: controllers.events },
    cpuHotplug: { block: block(CpuHotplug.blockSize(maxVcpus)), base: controllers.cpuHotplug, bootVcpus, maxVcpus },
    pciHotplug: { block: block(PciHotplug.blockSize), base: controllers.pciHotplug, segments },
    pmTimer: block(PmTimer.blockSize),
    serial: serial === undefined ? undefined : { ...serial, block: block(Serial.blockSize) },
    debugConsole: plan.debugConsole,
    fwCfg: plan.fwCfg,
    tpm: plan.tpm && { ...plan.tpm, block: block(CrbTpm.blockSize) },
    firmwareDebug: plan.firmwareDebug,
  };
}
