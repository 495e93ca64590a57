import type { VmConfig } from "../config/schema/vm.ts";
import { installKickSignal } from "../host/thread.ts";
import { KvmSystem } from "../hypervisor/kvm/system.ts";
import { type LogSettings, logger } from "../threads/log.ts";
import { ThreadPool } from "./thread-pool.ts";
import { Vm } from "./vm.ts";

const log = logger("vmm");

/**
 * The monitor: what outlives a VM. It boots a VM, boots it again when the guest resets, and is over when the guest powers
 * off or the VMM is told to stop.
 */
export class Vmm {
  readonly #log: LogSettings;
  readonly #noShutdown: boolean;
  readonly #system = new KvmSystem();
  readonly #threads = new ThreadPool();
  readonly #stopped = Promise.withResolvers<void>();
  #stopping = false;
  #vm: Vm | undefined;

  /**
   * @param noShutdown stay when the guest powers off
   * @throws HypervisorError when there is no usable KVM
   */
  constructor(log: LogSettings, noShutdown: boolean) {
    this.#log = log;
    this.#noShutdown = noShutdown;
    installKickSignal();
  }

  /**
   * Boots a VM and stays until it is over; without a VM, until told to stop.
   * @throws when the VM cannot be made or one of its threads fails; nothing is left behind then
   */
  async run(config: VmConfig | undefined): Promise<void> {
    if (config !== undefined) {
      await this.#live(config);
      if (!this.#noShutdown) return;
    }
    await this.#stopped.promise;
  }

  /** Ends the VM and then `run`. */
  readonly stop = (): void => {
    this.#stopping = true;
    this.#vm?.stop();
    this.#stopped.resolve();
  };

  /** Tells the guest of the terminal's new size. */
  readonly resizeConsole = (): void => this.#vm?.resizeConsole();

  /** Presses the guest's ACPI power button. */
  readonly powerButton = (): void => this.#vm?.powerButton();

  async #live(config: VmConfig): Promise<void> {
    for (;;) {
      const vm = new Vm(config, { system: this.#system, threads: this.#threads, log: this.#log });
      this.#vm = vm;
      if (this.#stopping) vm.stop();
      try {
        const outcome = await vm.run();
        log.info(`the VM is over: ${outcome}`);
        if (outcome !== "reset") return;
      } finally {
        this.#vm = undefined;
        vm.close();
      }
    }
  }
}
