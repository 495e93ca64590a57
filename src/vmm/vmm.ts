import type { VmConfig } from "../config/schema/vm.ts";
import { refuseUnsupportedConfig } from "../config/supported.ts";
import { validateVmConfig } from "../config/validate/validate.ts";
import type { SeccompMode } from "../host/seccomp/install.ts";
import { installKickSignal } from "../host/thread.ts";
import { KvmSystem } from "../hypervisor/kvm/system.ts";
import type { LogSettings } from "../threads/log.ts";
import { LandlockConfinement } from "./confinement/confinement.ts";
import { Consoles } from "./consoles/consoles.ts";
import { VmController } from "./control/controller.ts";
import type { EventListener } from "./control/events.ts";
import type { VmmControl } from "./control/vmm-control.ts";
import type { Life } from "./life.ts";
import { eventsOf } from "./notice-events.ts";
import { ThreadPool } from "./thread-pool.ts";
import type { VmHost } from "./vm.ts";

/** How the monitor runs. */
export interface VmmSettings {
  readonly log: LogSettings;
  /** What a violation of a thread's filter leads to; no filters when undefined. */
  readonly seccomp: SeccompMode | undefined;
  /** Stay when the guest powers off. */
  readonly noShutdown: boolean;
  readonly onEvent: EventListener;
  /** Path of the API's socket, if it has one. */
  readonly apiSocket: string | undefined;
}

/** The monitor: what outlives a VM. */
export class Vmm {
  /** What the API and the command line ask for. */
  readonly control: VmmControl;
  /** Settles when the monitor is to end. @throws when a thread of the VM failed, or the VM did not survive its reset */
  readonly ended: Promise<void>;
  #life: Life | undefined;
  #consoles: Consoles | undefined;

  /** @throws HypervisorError when there is no usable KVM */
  constructor({ log, seccomp, noShutdown, onEvent, apiSocket }: VmmSettings) {
    const threads = new ThreadPool();
    const host: VmHost = { system: new KvmSystem(), threads, log, seccomp, onNotice: eventsOf(onEvent) };
    installKickSignal();
    const makeVm = async (config: VmConfig): Promise<Life> => {
      // All that a machine is made of: a monitor that waits for its VM answers sooner without, and takes less memory.
      const { Life } = await import("./life.ts");
      this.#life = new Life(config, { ...host, consoles: this.#openConsoles(config) });
      return this.#life;
    };
    const consoles = {
      open: (config: VmConfig) => this.#openConsoles(config).described(config),
      close: () => {
        this.#consoles?.[Symbol.dispose]();
        this.#consoles = undefined;
      },
    };
    const controller = new VmController({
      makeVm,
      consoles,
      confinement: new LandlockConfinement({ apiSocket, threads }),
      onEvent,
      noShutdown,
    });
    this.control = controller;
    this.ended = controller.ended;
  }

  /** Boots the VM of a command line. @throws when it cannot be made or booted */
  async boot(config: VmConfig): Promise<void> {
    // To create a VM opens files for its output: nothing of the user's is to be emptied for a VM that cannot be.
    refuseUnsupportedConfig(validateVmConfig(config).config);
    await this.control.create(config);
    await this.control.boot();
  }

  /** Ends the VM and then the monitor. */
  readonly stop = (): void => {
    this.#life?.stop();
    // A failure to end is a failure of the VM, which `ended` tells.
    this.control.shutdownVmm().catch(() => undefined);
  };

  /** Tells the guest of the terminal's new size. */
  readonly resizeConsole = (): void => this.#life?.resizeConsole();

  #openConsoles(config: VmConfig): Consoles {
    this.#consoles ??= new Consoles(config, this.resizeConsole);
    return this.#consoles;
  }
}
