import { prepareImage } from "../block/prepare-image.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import { GedEvent } from "../devices/ged.ts";
import type { GuestNotice, NoticeListener } from "../devices/notices.ts";
import { CONSOLE_SIZE_WORD, consoleSizeWord } from "../devices/virtio/console/device.ts";
import type { SeccompMode } from "../host/seccomp/install.ts";
import { isolateCores } from "../host/thread.ts";
import { isTerminal } from "../host/tty.ts";
import type { VcpuHandle, VcpuState } from "../hypervisor/hypervisor.ts";
import type { KvmSystem } from "../hypervisor/kvm/system.ts";
import { KvmVcpu } from "../hypervisor/kvm/vcpu.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type LogSettings, logger } from "../threads/log.ts";
import { loadBoot } from "./boot-loader.ts";
import type { Consoles } from "./consoles/consoles.ts";
import type { NewDevice } from "./control/device-kinds.ts";
import { VmIsOverError } from "./control/errors.ts";
import { DeviceThreads } from "./device-threads.ts";
import { CONSOLE_ID } from "./devices/console.ts";
import type { PlacedDevice } from "./devices/placed-device.ts";
import { Hotplug, type HotplugVm } from "./hotplug.ts";
import type { JobBase } from "./jobs.ts";
import { Machine } from "./machine.ts";
import { planMachine } from "./machine-plan.ts";
import { RawTerminal } from "./terminal.ts";
import type { ThreadPool } from "./thread-pool.ts";
import type { VcpuOutcome } from "./vcpu-loop.ts";
import { VcpuFactory } from "./vcpu-setup.ts";
import { VmThread } from "./vm-thread.ts";

const log = logger("vm");
const STDOUT = 1;

/** What a VM uses that outlives it. */
export interface VmHost {
  readonly system: KvmSystem;
  readonly threads: ThreadPool;
  readonly log: LogSettings;
  /** What a violation of a thread's filter leads to; no filters when undefined. */
  readonly seccomp: SeccompMode | undefined;
  /** Told what the guest does to its devices. */
  readonly onNotice: (notice: VmNotice) => void;
}

/** What a VM tells of itself while it runs. */
export type VmNotice =
  | GuestNotice
  /** The guest gave up a device, and all that the device held is free. */
  | { readonly kind: "device-removed"; readonly id: string; readonly bdf: string };
/** A host with what was opened for one VM's configuration. */
export interface VmSurroundings extends VmHost {
  readonly consoles: Consoles;
}

/** A VM as it stood when it was paused. */
export interface SavedVm {
  /** By the devices' names. */
  readonly devices: Readonly<Record<string, Uint8Array>>;
  readonly vcpus: readonly VcpuState[];
  /** Puts RAM back. */
  readonly fillMemory: (memory: GuestMemory) => void | Promise<void>;
}

/** A limit of the host's hypervisor. */
export class TooManyVcpusError extends Error {
  override readonly name = "TooManyVcpusError";
  constructor(wanted: number, limit: number) {
    super(`${wanted} vCPUs are more than the ${limit} that KVM allows here: lower max and boot of --cpus`);
  }
}

/** One life of a virtual machine, from power-on to power-off or reset. */
export class Vm {
  readonly #config: VmConfig;
  readonly #host: VmSurroundings;
  readonly #saved: SavedVm | undefined;
  readonly #resources = new DisposableStack();
  readonly #vcpuThreads: VmThread[] = [];
  readonly #over = Promise.withResolvers<VcpuOutcome>();
  /** What a device asked for that is on no vCPU's thread. */
  readonly #asked = Promise.withResolvers<VcpuOutcome>();
  #machine: Machine | undefined;
  #threads: DeviceThreads | undefined;
  #hotplug: Hotplug | undefined;
  /** Who writes a core file. */
  #dump: VmThread | undefined;
  #stopped = false;
  #paused = false;
  /** Threads are at work on the machine: it may not be taken from under them. */
  #inUse = false;

  /** @param saved where to go on; a VM without boots */
  constructor(config: VmConfig, host: VmSurroundings, saved?: SavedVm) {
    this.#config = config;
    this.#host = host;
    this.#saved = saved;
  }

  /**
   * Settles when the guest or `stop` has ended the VM and no thread works on it any more.
   * @throws ThreadError at once when one of its threads fails
   */
  get over(): Promise<VcpuOutcome> {
    return this.#over.promise;
  }

  /** Starts the VM and waits until it is over. @throws as `start` and `over` do */
  async run(): Promise<VcpuOutcome> {
    await this.start();
    return this.over;
  }

  /**
   * Makes the machine, fills it and sends its vCPUs off.
   * @throws when it cannot be made or booted; then only `close` follows
   */
  async start(): Promise<void> {
    const { cpus } = this.#config;
    const { system, threads } = this.#host;
    const limit = system.maxVcpus;
    if (cpus.max_vcpus > limit) throw new TooManyVcpusError(cpus.max_vcpus, limit);
    if (cpus.core_scheduling === "Vm") isolateCores("process");
    // Threads take a few milliseconds to start: meanwhile the machine is made.
    const workers = Array.from({ length: cpus.boot_vcpus }, (_, i) => threads.thread("vcpu", `vcpu${i}`));

    for (const { path } of this.#config.disks ?? []) if (path !== undefined) await prepareImage(path);
    const supported = system.supportedCpuid();
    const plan = planMachine(this.#config, supported);
    const machine = this.#resources.use(
      new Machine(this.#config, system, plan, this.#host.consoles, this.#saved?.devices),
    );
    this.#machine = machine;
    const factory = new VcpuFactory(machine.kvm, system.runSize, { config: this.#config, plan, supported });
    for (const { name } of workers) {
      const thread = new VmThread(name, machine.arena);
      thread.vcpu = factory.create(this.#vcpuThreads.length);
      const { control, vcpu } = thread;
      this.#resources.defer(() => {
        control.close();
        new KvmVcpu(vcpu).close();
      });
      this.#vcpuThreads.push(thread);
    }
    if (this.#saved === undefined) {
      const kernel = await loadBoot(this.#config, plan, machine.memory);
      this.#eachVcpu((vcpu, index) => factory.setUp(vcpu, index, kernel));
    } else {
      const { vcpus, fillMemory } = this.#saved;
      await fillMemory(machine.memory);
      this.#eachVcpu((vcpu, index) => factory.restore(vcpu, index, vcpus[index] ?? {}));
      machine.devices.pci.nudge();
    }
    if (this.#stopped) {
      this.#over.resolve("stopped");
      return;
    }
    this.#takeTerminal();
    log.info(this.#saved === undefined ? "booting" : "going on");
    this.#inUse = true;
    const ownCore = cpus.core_scheduling === "Vcpu";
    const vcpus = this.#vcpuThreads.map((thread, index) => {
      const { vcpu } = thread;
      const worker = workers[index];
      if (vcpu === undefined || worker === undefined) throw new Error(`vCPU ${index} has no thread`);
      const job = { ...this.#job(thread, machine, affinityOf(this.#config, index)), vcpu, ownCore };
      return worker.run(job, this.#onNotice);
    });
    const io = this.#startIo(machine);
    const hotplug = new Hotplug(this.#hotplugVm(machine, io), this.#onRemoved);
    this.#threads = io;
    this.#hotplug = hotplug;
    this.#watch(vcpus, io, hotplug).then(this.#over.resolve, this.#over.reject);
  }

  /** Ends the VM as if its power cord were pulled. */
  stop(): void {
    this.#stopped = true;
    for (const thread of this.#vcpuThreads) thread.stop();
    this.#dump?.stop();
  }

  /**
   * Stops the guest at a point where all its state is in the devices' blocks, in RAM and in the vCPUs.
   * @throws VmIsOverError, ThreadStuckError
   */
  pause(): void {
    if (this.#stopped) throw new VmIsOverError();
    // vCPUs first: one that resets a device waits for the device's I/O thread.
    this.#parkVcpus();
    this.#threads?.pause();
    this.#paused = true;
  }

  /** Lets a paused guest go on. @throws VmIsOverError, ThreadStuckError */
  resume(): void {
    if (this.#stopped) throw new VmIsOverError();
    this.#paused = false;
    this.#threads?.resume();
    for (const thread of this.#vcpuThreads) thread.resume();
    this.#hotplug?.resumed().catch(this.#asked.reject);
  }

  /** Plugs a device into the running or paused VM. @throws as `Hotplug.plug` */
  plug(device: NewDevice): Promise<PlacedDevice> {
    if (this.#hotplug === undefined) throw new VmIsOverError();
    return this.#hotplug.plug(device);
  }

  /** Asks the guest to give a device up. @throws as `Hotplug.requestEject` */
  requestEject(id: string): void {
    if (this.#hotplug === undefined) throw new VmIsOverError();
    this.#hotplug.requestEject(id);
  }

  /** Copies out all state but RAM, which `memory` gives access to. The VM must be paused. @throws SysError */
  save(): Pick<SavedVm, "devices" | "vcpus"> {
    if (this.#machine === undefined) throw new Error("there is no machine to save");
    const vcpus: VcpuState[] = [];
    this.#eachVcpu((handle) => vcpus.push(new KvmVcpu(handle).saveState()));
    return { devices: this.#machine.devices.save(), vcpus };
  }

  /**
   * Writes a core file. The VM must be paused, and stay so until that is done.
   * @throws VmIsOverError, CoreDumpError
   */
  async dumpCore(destination: string): Promise<void> {
    const { dumpCore } = await import("./core-dump.ts");
    const machine = this.#machine;
    if (machine === undefined || this.#stopped) throw new VmIsOverError();
    try {
      await dumpCore(destination, {
        vcpus: this.save().vcpus,
        threads: this.#host.threads,
        describe: (thread) => this.#job(thread, machine),
        onThread: (thread) => {
          this.#dump = thread;
        },
      });
    } finally {
      this.#dump = undefined;
    }
  }

  /** The machine, once `start` has made it. */
  get machine(): Machine | undefined {
    return this.#machine;
  }

  /** Guest RAM, while there is a machine. */
  get memory(): GuestMemory | undefined {
    return this.#machine?.memory;
  }

  /** Where the hypervisor's statistics of each vCPU are read (`VcpuHandle.statsFd`). */
  get vcpuStatsFds(): readonly (number | undefined)[] {
    return this.#vcpuThreads.map(({ vcpu }) => vcpu?.statsFd);
  }

  /** Presses the ACPI power button. */
  powerButton(): void {
    this.#machine?.devices.platform.ged.notify(GedEvent.POWER_BUTTON);
  }

  /** Sends every vCPU a non-maskable interrupt. @throws SysError */
  nmi(): void {
    this.#eachVcpu((handle) => new KvmVcpu(handle).injectNmi());
  }

  /** Tells the guest the size of the terminal it is on. */
  resizeConsole(): void {
    const size = this.#host.consoles.consoleSize;
    const device = this.#machine?.devices.pci.virtio(this.#config.console.id ?? CONSOLE_ID);
    if (size !== undefined) device?.changeConfig(CONSOLE_SIZE_WORD, consoleSizeWord(size));
  }

  /**
   * Gives everything back. `run` must be over. After the failure of a thread the others are still at work: what they use
   * goes with the process.
   */
  close(): void {
    if (this.#inUse) return;
    // Nobody may reach what is gone: a signal may still ask a VM that is over to stop.
    this.#machine = undefined;
    this.#hotplug = undefined;
    this.#vcpuThreads.length = 0;
    this.#resources.dispose();
  }

  /** A device that is not on a vCPU's thread can end the life as one that is. */
  readonly #onNotice: NoticeListener = (notice) => {
    if (notice.kind === "reset") this.#asked.resolve("reset");
    else if (notice.kind === "ejected") this.#hotplug?.ejected(notice.slot).catch(this.#asked.reject);
    else this.#host.onNotice(notice);
  };

  readonly #onRemoved = ({ id, bdf }: PlacedDevice): void => {
    this.#host.onNotice({ kind: "device-removed", id, bdf });
  };

  #hotplugVm(machine: Machine, threads: DeviceThreads): HotplugVm {
    const isPaused = (): boolean => this.#paused;
    return {
      machine,
      threads,
      get isPaused() {
        return isPaused();
      },
      quiesceVcpus: () => {
        if (this.#paused || this.#stopped) return;
        this.#parkVcpus();
        for (const thread of this.#vcpuThreads) thread.resume();
      },
    };
  }

  #parkVcpus(): void {
    for (const thread of this.#vcpuThreads) thread.pause();
    for (const thread of this.#vcpuThreads) thread.waitParked();
  }

  #eachVcpu(act: (vcpu: VcpuHandle, index: number) => void): void {
    this.#vcpuThreads.forEach(({ vcpu }, index) => {
      if (vcpu !== undefined) act(vcpu, index);
    });
  }

  /** A guest needs its I/O threads long after its first instruction, so they start when the vCPUs have been sent off. */
  #startIo(machine: Machine): DeviceThreads {
    const describe = (thread: VmThread, affinity?: readonly number[]): JobBase => this.#job(thread, machine, affinity);
    const threads = new DeviceThreads(this.#host.threads, describe, this.#onNotice);
    const { ioThread, pci } = machine;
    threads.require([
      ...pci.placed.map((device) => threads.startDevice(device)),
      threads.startIo(ioThread, { devices: pci.onIoThread, platform: true }),
    ]);
    return threads;
  }

  /**
   * Waits for a vCPU or a device to end the VM, then for the others, and ends the I/O threads last: a vCPU may be waiting for
   * one of them.
   * @throws ThreadError at once
   */
  async #watch(vcpus: readonly Promise<VcpuOutcome>[], io: DeviceThreads, hotplug: Hotplug): Promise<VcpuOutcome> {
    const failure = Promise.withResolvers<never>();
    for (const job of [...vcpus, io.failure]) job.catch(failure.reject);
    const outcome = await Promise.race([...vcpus, this.#asked.promise, failure.promise]);
    this.stop();
    await Promise.race([Promise.all(vcpus), failure.promise]);
    await Promise.race([hotplug.close(), failure.promise]);
    await Promise.race([io.stop(), failure.promise]);
    this.#inUse = false;
    return outcome;
  }

  #job(thread: VmThread, machine: Machine, affinity?: readonly number[]): JobBase {
    const { log, seccomp } = this.#host;
    return { name: thread.name, control: thread.controlRef, machine: machine.wiring, log, affinity, seccomp };
  }

  #takeTerminal(): void {
    const { serial, console: virtioConsole } = this.#config;
    if (serial.mode !== "Tty" && virtioConsole.mode !== "Tty") return;
    if (!isTerminal(STDOUT)) return;
    const terminal = new RawTerminal(STDOUT);
    this.#resources.defer(terminal.restore);
  }
}

function affinityOf({ cpus }: VmConfig, vcpu: number): readonly number[] | undefined {
  return cpus.affinity?.find((entry) => entry.vcpu === vcpu)?.host_cpus;
}
