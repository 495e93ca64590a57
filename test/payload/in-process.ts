import { expect } from "bun:test";
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { parseCommandLine } from "../../src/cli/parse.ts";
import type { VmConfig } from "../../src/config/schema/vm.ts";
import { readVmConfig } from "../../src/config/vm-config.ts";
import { installKickSignal } from "../../src/host/thread.ts";
import { KvmSystem } from "../../src/hypervisor/kvm/system.ts";
import type { GuestMemory } from "../../src/memory/guest-memory.ts";
import { Consoles } from "../../src/vmm/consoles/consoles.ts";
import { Life } from "../../src/vmm/life.ts";
import { ThreadPool } from "../../src/vmm/thread-pool.ts";
import { type SavedVm, Vm, type VmHost } from "../../src/vmm/vm.ts";

/** What VMs inside the test's own process need. The caller closes `threads`. */
export function inProcessHost(): VmHost {
  installKickSignal();
  return {
    system: new KvmSystem(),
    threads: new ThreadPool(),
    onNotice: () => undefined,
    log: { level: "warn", template: "{msg}", startNs: 0, zoneOffsetMinutes: 0, fd: 2 },
    seccomp: undefined,
  };
}

/** A VM in the test's own process, with its consoles. */
export class TestVm extends Vm {
  readonly #consoles: Consoles;

  constructor(config: VmConfig, host: VmHost, saved?: SavedVm) {
    const consoles = new Consoles(config);
    super(config, { ...host, consoles }, saved);
    this.#consoles = consoles;
  }

  override close(): void {
    super.close();
    this.#consoles[Symbol.dispose]();
  }
}

/** A life of a VM in the test's own process, with its consoles. */
export class TestLife extends Life {
  readonly #consoles: Consoles;

  constructor(config: VmConfig, host: VmHost) {
    const consoles = new Consoles(config);
    super(config, { ...host, consoles });
    this.#consoles = consoles;
  }

  override close(): void {
    super.close();
    this.#consoles[Symbol.dispose]();
  }
}

/** The configuration that a command line describes. */
export function configOf(argv: readonly string[]): VmConfig {
  const commandLine = parseCommandLine(argv);
  if (commandLine.kind !== "run") throw new Error(commandLine.text);
  return readVmConfig(commandLine.request.options).config;
}

/** A dword in guest RAM that tells a guest to go on. */
export const GO_ON = 0x4ff0;

/** A copy of guest RAM. @returns what puts it into another machine */
export function copyMemory(memory: GuestMemory | undefined): (target: GuestMemory) => void {
  if (memory === undefined) throw new Error("the VM has no memory");
  const copies = memory.regions.map(({ gpa, size }) => {
    const bytes = new Uint8Array(size);
    memory.read(gpa, bytes);
    return { gpa, bytes };
  });
  return (target) => {
    for (const { gpa, bytes } of copies) target.write(gpa, bytes);
  };
}

/** The guest's serial output, through a FIFO, waited for by what it says. */
export class SerialOutput {
  readonly path: string;
  text = "";
  readonly #reader: Bun.Subprocess<number, "pipe", "inherit">;
  readonly #done: Promise<void>;
  /** Keeps the FIFO from coming to its end before the VM has opened it. */
  readonly #keeper: number;
  #look: () => void = () => undefined;

  /** Makes the FIFO `name` in `folder`, for `--serial file=`. */
  constructor(folder: string, name: string) {
    this.path = join(folder, name);
    Bun.spawnSync(["mkfifo", this.path]);
    this.#keeper = openSync(this.path, constants.O_RDWR);
    const readEnd = openSync(this.path, constants.O_RDONLY);
    this.#reader = Bun.spawn(["cat"], { stdio: [readEnd, "pipe", "inherit"] });
    closeSync(readEnd);
    this.#done = this.#collect();
  }

  /** Waits until `marker` stands in the output. */
  async waitFor(marker: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#look = () => {
      if (this.text.includes(marker)) resolve();
    };
    this.#look();
    await Promise.race([promise, this.#done]);
    expect(this.text).toContain(marker);
  }

  /** All of it, once the VM is over. */
  async all(): Promise<string> {
    closeSync(this.#keeper);
    await this.#done;
    return this.text;
  }

  async #collect(): Promise<void> {
    for await (const chunk of this.#reader.stdout.pipeThrough(new TextDecoderStream())) {
      this.text += chunk;
      this.#look();
    }
  }
}
