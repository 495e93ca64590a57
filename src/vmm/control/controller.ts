import { UnsupportedError } from "../../config/errors.ts";
import type { VmCoredumpData, VmResize, VmResizeDisk, VmResizeZone } from "../../config/schema/actions.ts";
import type { VmConfig } from "../../config/schema/vm.ts";
import { refuseUnsupportedConfig } from "../../config/supported.ts";
import { validateVmConfig } from "../../config/validate/validate.ts";
import { libc } from "../../host/libc.ts";
import { logger } from "../../threads/log.ts";
import { droppedDescriptors, type NewDevice, withDevice, withoutDevice } from "./device-kinds.ts";
import {
  InvalidTransitionError,
  UnknownDeviceError,
  VmAlreadyCreatedError,
  VmMissingConfigError,
  VmNotCreatedError,
  VmNotRunningError,
} from "./errors.ts";
import type { EventListener, PlainEvents } from "./events.ts";
import { isLegal, type VmState } from "./state.ts";
import type { PciDeviceInfo, VmCounters, VmInfo } from "./vm-info.ts";
import type { Confinement, LifeEnd, MakeVm, VmConsoles, VmLife } from "./vm-life.ts";
import type { VmMetrics } from "./vm-metrics.ts";
import type { VmmControl } from "./vmm-control.ts";

const log = logger("vmm");

/** What the state machine works with. */
export interface ControllerOptions {
  readonly makeVm: MakeVm;
  readonly consoles: VmConsoles;
  readonly confinement: Confinement;
  readonly onEvent: EventListener;
  /** Stay when the guest powers off. */
  readonly noShutdown: boolean;
}

/** A life that has been started. */
interface Booted {
  readonly life: VmLife;
  state: VmState;
}

/** A method that a life may lack. */
function needed<T>(method: T | undefined, feature: string): T {
  if (method === undefined) throw new UnsupportedError([feature]);
  return method;
}

/**
 * The state machine of the one VM that a process has: none, created, running, paused. It carries out requests one at a time,
 * refuses those that do not fit the state, boots again when the guest resets, and reports what happens.
 */
export class VmController implements VmmControl {
  readonly #options: ControllerOptions;
  readonly #ended = Promise.withResolvers<void>();
  #config: VmConfig | undefined;
  #booted: Booted | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #isOver = false;

  constructor(options: ControllerOptions) {
    this.#options = options;
    // Whoever waits for the end learns of a failure; until then it must not count as unhandled.
    this.#ended.promise.catch((error: unknown) => log.debug(`the VMM ends with an error: ${error}`));
  }

  /**
   * Settles when the VMM is to end: the guest powered off, or somebody said so.
   * @throws when a thread of the VM failed, or the VM did not survive its reset
   */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  create(config: VmConfig): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#config !== undefined) throw new VmAlreadyCreatedError();
      const { consoles, confinement } = this.#options;
      confinement.require(config);
      this.#config = config;
      this.#config = consoles.open(config);
      try {
        await confinement.enter(this.#config);
      } catch (error) {
        // It must not be booted with less confinement than it asks for.
        this.#config = undefined;
        consoles.close();
        throw error;
      }
    });
  }

  delete(): Promise<void> {
    return this.#inTurn(() => this.#delete());
  }

  boot(): Promise<void> {
    return this.#inTurn(async () => {
      this.#emit("booting");
      if (this.#booted !== undefined) throw new VmAlreadyCreatedError();
      if (this.#config === undefined) throw new VmMissingConfigError();
      await this.#start(this.#config);
      this.#emit("booted");
    });
  }

  shutdown(): Promise<void> {
    return this.#inTurn(async () => {
      const booted = this.#running();
      this.#checkTransition(booted, "Shutdown");
      await this.#stop(booted);
      this.#emit("shutdown");
    });
  }

  reboot(): Promise<void> {
    return this.#inTurn(async () => {
      this.#emit("rebooting");
      const booted = this.#booted;
      if (booted === undefined) throw new VmNotCreatedError();
      this.#checkTransition(booted, "Shutdown");
      await this.#stop(booted);
      await this.#startAgain();
    });
  }

  pause(): Promise<void> {
    return this.#inTurn(() => this.#pause());
  }

  resume(): Promise<void> {
    return this.#inTurn(() => this.#resume());
  }

  powerButton(): Promise<void> {
    return this.#inTurn(() => this.#running().life.powerButton());
  }

  nmi(): Promise<void> {
    return this.#inTurn(async () => {
      const { life, state } = this.#running();
      const inject = needed(life.nmi, "vm.nmi");
      if (state === "Running") await life.pause();
      try {
        inject.call(life);
      } finally {
        if (state === "Running") await life.resume();
      }
    });
  }

  info(): Promise<VmInfo> {
    return this.#inTurn(() => {
      const config = this.#created();
      return {
        config,
        state: this.#booted?.state ?? "Created",
        memoryActualSize: this.#memorySize(config),
        deviceTree: this.#booted?.life.deviceTree?.(),
      };
    });
  }

  metrics(): Promise<VmMetrics> {
    return this.#inTurn(async () => {
      const config = this.#config;
      if (config === undefined) return { state: undefined, memoryBytes: 0, devices: [], vcpus: [] };
      const counted = (await this.#booted?.life.metrics?.()) ?? { devices: [], vcpus: [] };
      return { state: this.#booted?.state ?? "Created", memoryBytes: this.#memorySize(config), ...counted };
    });
  }

  counters(): Promise<VmCounters> {
    return this.#inTurn(() => {
      const { life } = this.#running();
      return needed(life.counters, "vm.counters").call(life);
    });
  }

  addDevice(device: NewDevice): Promise<PciDeviceInfo | undefined> {
    return this.#inTurn(async () => {
      const config = withDevice(this.#created(), device);
      this.#validated(config);
      const life = this.#booted?.life;
      if (life === undefined) {
        this.#config = config;
        return undefined;
      }
      const info = await needed(life.addDevice, `adding to "${device.member}" of a booted VM`).call(life, device);
      this.#config = life.config;
      return info;
    });
  }

  removeDevice(id: string): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#created();
      const life = this.#booted?.life;
      if (life === undefined) {
        const config = withoutDevice(before, id);
        if (config === undefined) throw new UnknownDeviceError(id);
        this.#config = config;
      } else {
        await needed(life.removeDevice, "vm.remove-device of a booted VM").call(life, id);
        this.#config = life.config;
      }
      closeAll(droppedDescriptors(before, this.#config));
    });
  }

  resize(request: VmResize): Promise<void> {
    return this.#inTurn(async () => {
      const config = this.#created();
      const life = this.#booted?.life;
      if (life === undefined) {
        this.#config = resized(config, request);
        return;
      }
      this.#emit("resizing");
      if (!isNoChange(config, request)) {
        await needed(life.resize, "vm.resize of a booted VM").call(life, request);
        this.#config = life.config;
      }
      this.#emit("resized");
    });
  }

  resizeDisk(request: VmResizeDisk): Promise<void> {
    return this.#inTurn(() => {
      this.#created();
      const { life } = this.#running();
      return needed(life.resizeDisk, "vm.resize-disk").call(life, request);
    });
  }

  resizeZone(request: VmResizeZone): Promise<void> {
    return this.#inTurn(async () => {
      const config = this.#created();
      const life = this.#booted?.life;
      if (life !== undefined) {
        await needed(life.resizeZone, "vm.resize-zone of a booted VM").call(life, request);
        this.#config = life.config;
        return;
      }
      const { zones = [] } = config.memory;
      const index = zones.findIndex(({ id }) => id === request.id);
      const zone = zones[index];
      if (zone === undefined) throw new Error(`there is no memory zone '${request.id}'`);
      const { desired_ram: size } = request;
      this.#config = { ...config, memory: { ...config.memory, zones: zones.with(index, { ...zone, size }) } };
    });
  }

  coredump(request: VmCoredumpData): Promise<void> {
    return this.#inTurn(async () => {
      const { life, state } = this.#running();
      const dump = needed(life.coredump, "vm.coredump");
      this.#emit("coredumping");
      if (state === "Running") await this.#pause();
      try {
        await dump.call(life, request);
      } finally {
        if (state === "Running") await this.#resume();
      }
    });
  }

  shutdownVmm(): Promise<void> {
    return this.#inTurn(async () => {
      try {
        await this.#delete();
      } finally {
        this.#end();
      }
    });
  }

  /** Runs `action` when all earlier ones are over. */
  #inTurn<T>(action: () => T | Promise<T>): Promise<T> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => undefined);
    return result;
  }

  #emit(event: PlainEvents["vm"]): void {
    this.#options.onEvent({ source: "vm", event });
  }

  /** RAM that the guest has, or will have, in bytes. */
  #memorySize({ memory: { size, zones = [] } }: VmConfig): number {
    return this.#booted?.life.memoryActualSize?.() ?? zones.reduce((sum, zone) => sum + zone.size, size);
  }

  #created(): VmConfig {
    if (this.#config === undefined) throw new VmNotCreatedError();
    return this.#config;
  }

  #running(): Booted {
    if (this.#booted === undefined) throw new VmNotRunningError();
    return this.#booted;
  }

  #checkTransition({ state }: Booted, to: VmState): void {
    if (!isLegal(state, to)) throw new InvalidTransitionError(state, to);
  }

  /** @throws ValidationError, UnsupportedError, LandlockPathError */
  #validated(config: VmConfig): VmConfig {
    const validated = validateVmConfig(config);
    for (const warning of validated.warnings) log.warn(warning);
    refuseUnsupportedConfig(validated.config);
    this.#options.confinement.require(validated.config);
    return validated.config;
  }

  async #start(config: VmConfig): Promise<void> {
    const life = await this.#options.makeVm(this.#options.consoles.open(this.#validated(config)));
    try {
      await life.start();
    } catch (error) {
      life.close();
      throw error;
    }
    this.#config = life.config;
    const booted: Booted = { life, state: "Running" };
    this.#booted = booted;
    life.over.then(
      (end) => this.#inTurn(() => this.#whenOver(booted, end)).catch((error: unknown) => this.#end(error)),
      (error: unknown) => this.#inTurn(() => this.#whenFailed(booted, error)),
    );
  }

  async #startAgain(): Promise<void> {
    await this.#start(this.#created());
    this.#emit("rebooted");
  }

  async #pause(): Promise<void> {
    this.#emit("pausing");
    const booted = this.#running();
    this.#checkTransition(booted, "Paused");
    await booted.life.pause();
    booted.state = "Paused";
    this.#emit("paused");
  }

  async #resume(): Promise<void> {
    this.#emit("resuming");
    const booted = this.#running();
    this.#checkTransition(booted, "Running");
    await booted.life.resume();
    booted.state = "Running";
    this.#emit("resumed");
  }

  /** Ends a life and forgets it, whatever happens. */
  async #stop(booted: Booted): Promise<void> {
    this.#booted = undefined;
    try {
      booted.life.stop();
      await booted.life.over;
    } finally {
      booted.life.close();
    }
  }

  async #delete(): Promise<void> {
    const booted = this.#booted;
    if (booted !== undefined) {
      this.#checkTransition(booted, "Shutdown");
      await this.#stop(booted);
      this.#emit("shutdown");
    }
    const config = this.#config;
    if (config === undefined) return;
    this.#config = undefined;
    this.#options.consoles.close();
    closeAll(droppedDescriptors(config, undefined));
    this.#emit("deleted");
  }

  /** The guest ended its life. */
  async #whenOver(booted: Booted, end: LifeEnd): Promise<void> {
    if (this.#booted !== booted) return;
    log.info(`the VM is over: ${end}`);
    if (end === "reset") this.#emit("rebooting");
    this.#booted = undefined;
    booted.life.close();
    if (end === "reset") return this.#startAgain();
    this.#emit("shutdown");
    if (this.#options.noShutdown) return;
    await this.#delete();
    this.#end();
  }

  /** A thread of the VM failed: no VM can be trusted after that. */
  async #whenFailed(booted: Booted, error: unknown): Promise<void> {
    if (this.#booted !== booted) return;
    this.#booted = undefined;
    booted.life.close();
    this.#end(error);
  }

  /** @param error why the VMM fails, when it does */
  #end(error?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.onEvent({ source: "vmm", event: "shutdown" });
    if (error === undefined) this.#ended.resolve();
    else this.#ended.reject(error);
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) libc.close(fd);
}

/** What a resize makes of the configuration of a VM that is not booted. */
function resized(config: VmConfig, request: VmResize): VmConfig {
  const { desired_vcpus: vcpus, desired_ram: ram, desired_balloon: balloon } = request;
  return {
    ...config,
    ...(vcpus !== undefined && { cpus: { ...config.cpus, boot_vcpus: vcpus } }),
    ...(ram !== undefined && { memory: { ...config.memory, size: ram } }),
    ...(balloon !== undefined && config.balloon && { balloon: { ...config.balloon, size: balloon } }),
  };
}

/** Whether a resize asks for what is there already. */
function isNoChange(config: VmConfig, request: VmResize): boolean {
  const { desired_vcpus: vcpus, desired_ram: ram, desired_balloon: balloon } = request;
  return (vcpus ?? config.cpus.boot_vcpus) === config.cpus.boot_vcpus && ram === undefined && balloon === undefined;
}
