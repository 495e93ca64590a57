import type { VmConfig } from "../config/schema/vm.ts";
import { GedEvent } from "../devices/ged.ts";
import { CONSOLE_SIZE_WORD, consoleSizeWord } from "../devices/virtio/console/device.ts";
import { isTerminal, terminalSize } from "../host/tty.ts";
import type { KvmSystem } from "../hypervisor/kvm/system.ts";
import { KvmVcpu } from "../hypervisor/kvm/vcpu.ts";
import { type LogSettings, logger } from "../threads/log.ts";
import { loadBoot } from "./boot-loader.ts";
import type { JobBase } from "./jobs.ts";
import { Machine } from "./machine.ts";
import { planMachine } from "./machine-plan.ts";
import { RawTerminal } from "./terminal.ts";
import type { ThreadPool } from "./thread-pool.ts";
import type { VcpuOutcome } from "./vcpu-loop.ts";
import { VcpuFactory } from "./vcpu-setup.ts";
import { CONSOLE_ID } from "./virtio-devices.ts";
import { VmThread } from "./vm-thread.ts";

const log = logger("vm");
const STDOUT = 1;

/** What a VM uses that outlives it. */
export interface VmHost {
  readonly system: KvmSystem;
  readonly threads: ThreadPool;
  readonly log: LogSettings;
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
  readonly #host: VmHost;
  readonly #resources = new DisposableStack();
  readonly #vcpuThreads: VmThread[] = [];
  #machine: Machine | undefined;
  #stopped = false;

  constructor(config: VmConfig, host: VmHost) {
    this.#config = config;
    this.#host = host;
  }

  /**
   * Makes the machine, boots it and runs it until it is over.
   * @returns what ended it: the guest, or `stop`
   * @throws when it cannot be made or booted; ThreadError when one of its threads fails
   */
  async run(): Promise<VcpuOutcome> {
    const { cpus } = this.#config;
    const { system, threads } = this.#host;
    const limit = system.maxVcpus;
    if (cpus.max_vcpus > limit) throw new TooManyVcpusError(cpus.max_vcpus, limit);
    // Threads take a few milliseconds to start: meanwhile the machine is made.
    const workers = Array.from({ length: cpus.boot_vcpus }, (_, i) => threads.thread("vcpu", `vcpu${i}`));

    const supported = system.supportedCpuid();
    const plan = planMachine(this.#config, supported);
    const machine = this.#resources.use(new Machine(this.#config, system, plan));
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
    const kernel = await loadBoot(this.#config, plan, machine.memory);
    this.#vcpuThreads.forEach(({ vcpu }, index) => {
      if (vcpu !== undefined) factory.setUp(vcpu, index, kernel);
    });
    if (this.#stopped) return "stopped";
    this.#takeTerminal();
    log.info("booting");
    const vcpus = this.#vcpuThreads.map((thread, index) => {
      const { vcpu } = thread;
      const worker = workers[index];
      if (vcpu === undefined || worker === undefined) throw new Error(`vCPU ${index} has no thread`);
      return worker.run({ ...this.#job(thread, machine, affinityOf(this.#config, index)), vcpu });
    });
    return this.#watch(vcpus, this.#startIo(machine));
  }

  /** Ends the VM as if its power cord were pulled. */
  stop(): void {
    this.#stopped = true;
    for (const thread of this.#vcpuThreads) thread.stop();
  }

  /** Presses the ACPI power button. */
  powerButton(): void {
    this.#machine?.devices.platform.ged.notify(GedEvent.POWER_BUTTON);
  }

  /** Tells the guest the size of the terminal it is on. */
  resizeConsole(): void {
    const size = this.#config.console.mode === "Tty" ? terminalSize(STDOUT) : undefined;
    const device = this.#machine?.devices.pci.virtio(this.#config.console.id ?? CONSOLE_ID);
    if (size !== undefined) device?.changeConfig(CONSOLE_SIZE_WORD, consoleSizeWord(size));
  }

  /** Gives everything back. `run` must be over. */
  close(): void {
    this.#resources.dispose();
  }

  /** A guest needs its I/O threads long after its first instruction, so they start when the vCPUs have been sent off. */
  #startIo(machine: Machine): Promise<void>[] {
    const { threads } = this.#host;
    const { ioThread, blockThreads, serialInputFd } = machine;
    const jobs = blockThreads.map(({ thread, wiring, index, affinity }) =>
      threads
        .thread("block", thread.name)
        .run({ ...this.#job(thread, machine, affinity), device: wiring, queue: index }),
    );
    jobs.push(threads.thread("io", ioThread.name).run({ ...this.#job(ioThread, machine, undefined), serialInputFd }));
    return jobs;
  }

  /**
   * Waits for the first vCPU to end the VM, then for the others, and ends the I/O threads last: a vCPU may be waiting for
   * one of them.
   * @throws ThreadError at once
   */
  async #watch(vcpus: readonly Promise<VcpuOutcome>[], io: readonly Promise<void>[]): Promise<VcpuOutcome> {
    const failure = Promise.withResolvers<never>();
    for (const job of [...vcpus, ...io]) job.catch(failure.reject);
    const outcome = await Promise.race([...vcpus, failure.promise]);
    this.stop();
    await Promise.race([Promise.all(vcpus), failure.promise]);
    for (const { thread } of this.#machine?.blockThreads ?? []) thread.stop();
    this.#machine?.ioThread.stop();
    await Promise.race([Promise.all(io), failure.promise]);
    return outcome;
  }

  #job(thread: VmThread, machine: Machine, affinity: readonly number[] | undefined): JobBase {
    return { name: thread.name, control: thread.controlRef, machine: machine.wiring, log: this.#host.log, affinity };
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
