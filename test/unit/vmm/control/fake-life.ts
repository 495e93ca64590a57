import type { VmCoredumpData } from "../../../../src/config/schema/actions.ts";
import type { VmConfig } from "../../../../src/config/schema/vm.ts";
import { type ControllerOptions, VmController } from "../../../../src/vmm/control/controller.ts";
import type { DeviceTree, VmCounters } from "../../../../src/vmm/control/vm-info.ts";
import type { LifeEnd, VmLife } from "../../../../src/vmm/control/vm-life.ts";

/** A life without a machine: it records what is asked of it, and its guest does what the test says. */
export class FakeLife implements VmLife {
  readonly config: VmConfig;
  readonly calls: string[] = [];
  readonly #over = Promise.withResolvers<LifeEnd>();
  /** Makes `start` fail. */
  startError: Error | undefined;
  pauseError: Error | undefined;
  dumpError: Error | undefined;

  constructor(config: VmConfig) {
    this.config = {
      ...config,
      ...(config.disks && { disks: config.disks.map((disk, i) => ({ id: `_disk${i}`, ...disk })) }),
    };
  }

  get over(): Promise<LifeEnd> {
    return this.#over.promise;
  }

  async start(): Promise<void> {
    this.calls.push("start");
    if (this.startError !== undefined) throw this.startError;
  }

  pause(): void {
    this.calls.push("pause");
    if (this.pauseError !== undefined) throw this.pauseError;
  }

  resume(): void {
    this.calls.push("resume");
  }

  stop(): void {
    this.calls.push("stop");
    this.#over.resolve("stopped");
  }

  close(): void {
    this.calls.push("close");
  }

  powerButton(): void {
    this.calls.push("powerButton");
  }

  nmi(): void {
    this.calls.push("nmi");
  }

  async coredump({ destination_url }: VmCoredumpData): Promise<void> {
    this.calls.push(`coredump ${destination_url}`);
    if (this.dumpError !== undefined) throw this.dumpError;
  }

  counters(): VmCounters {
    return { _disk0: { read_bytes: 5, read_latency_min: 2n ** 64n - 1n } };
  }

  deviceTree(): DeviceTree {
    return { __serial: { id: "__serial", resources: [], children: [] } };
  }

  /** The guest ends its life. */
  end(how: LifeEnd): void {
    this.#over.resolve(how);
  }

  /** A thread of the VM fails. */
  fail(error: Error): void {
    this.#over.reject(error);
  }
}

/** A state machine over fake lives. */
export function fakeVmm(options: Partial<ControllerOptions> & { readonly prepare?: (life: FakeLife) => void } = {}) {
  const lives: FakeLife[] = [];
  const events: string[] = [];
  const controller = new VmController({
    makeVm: (config) => {
      const life = new FakeLife(config);
      options.prepare?.(life);
      lives.push(life);
      return life;
    },
    consoles: { open: (config) => config, close: () => undefined },
    confinement: { enter: async () => undefined, require: () => undefined },
    onEvent: ({ source, event }) => events.push(`${source}:${event}`),
    noShutdown: false,
    ...options,
  });
  return { controller, lives, events };
}
