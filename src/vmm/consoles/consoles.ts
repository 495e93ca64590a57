import type { VmConfig } from "../../config/schema/vm.ts";
import { OutputRing } from "../../devices/chardev/output-ring.ts";
import type { ChardevWiring, OutputWiring } from "../../devices/chardev/wiring.ts";
import { createEventFd } from "../../host/eventfd.ts";
import { libc } from "../../host/libc.ts";
import { cString } from "../../host/scratch.ts";
import { terminalSize } from "../../host/tty.ts";
import { SharedArena } from "../../threads/arena.ts";
import { refTo } from "../../threads/block-ref.ts";
import { type ConsoleRequest, descriptorsOf, type OpenEnd, openEnd, openTerminal } from "./open-end.ts";
import { watchSize } from "./size-watch.ts";

const STDOUT = 1;
/** Serial port, virtio console, debug console and the terminal. */
const MAX_CHARDEVS = 4;
const CACHE_LINE = 64;

/** What a device that is there is connected to. */
export interface ConsoleEnd {
  /** Where output goes; nowhere when undefined. */
  readonly output: OutputWiring | undefined;
  /** Whether input from there is for this device. */
  readonly takesInput: boolean;
}

const NOWHERE: ConsoleEnd = { output: undefined, takesInput: false };

/**
 * The host's ends of a VM's consoles. They are opened when the VM is created and stay through all its lives: after a reboot a
 * pseudo-terminal has the same path, clients are still connected, and what nobody has read yet is still there.
 */
export class Consoles implements Disposable {
  readonly serial: ConsoleEnd | undefined;
  readonly console: ConsoleEnd | undefined;
  readonly debugConsole: ConsoleEnd | undefined;
  /** Of firmware's debug text: the terminal. */
  readonly firmwareDebug: OutputWiring | undefined;
  readonly chardevs: readonly ChardevWiring[];
  readonly #resources: DisposableStack;
  /** Paths of the pseudo-terminals, by option. */
  readonly #ptys: ReadonlyMap<string, string>;
  /** The descriptor of the terminal that the virtio console is on. */
  readonly #sizeFd: number | undefined;

  /**
   * @param onResize told when the terminal of the virtio console has another size, if it is one of our own making
   * @throws ConsoleError; nothing is left behind then
   */
  constructor(config: VmConfig, onResize: () => void = () => undefined) {
    const { serial, console: virtioConsole, debug_console: debug } = config;
    using resources = new DisposableStack();
    const opener = new Opener(resources);
    this.firmwareDebug = opener.terminal();
    const serialEnd = opener.open("--serial", serial);
    const consoleEnd = opener.open("--console", virtioConsole);
    const debugEnd = opener.open("--debug-console", debug ?? { mode: "Off" });
    // Nobody has the serial port on the terminal without asking for it, so what is typed there is for the serial port: of two
    // readers each would miss what the other has read.
    const shared = serial.mode === "Tty" && virtioConsole.mode === "Tty";
    this.serial = serialEnd;
    this.console = consoleEnd && { ...consoleEnd, takesInput: consoleEnd.takesInput && !shared };
    this.debugConsole = debugEnd && { ...debugEnd, takesInput: false };
    this.chardevs = opener.chardevs;
    this.#ptys = opener.ptys;
    const end = this.chardevs.find(({ name }) => name === "--console")?.end;
    if (end?.kind === "pty") {
      this.#sizeFd = end.masterFd;
      resources.defer(watchSize(end.masterFd, onResize));
    } else if (virtioConsole.mode === "Tty") this.#sizeFd = STDOUT;
    this.#resources = resources.move();
  }

  /** A configuration of the same consoles with the paths of their pseudo-terminals. */
  described(config: VmConfig): VmConfig {
    const pathOf = (name: string): { readonly file?: string } => {
      const file = this.#ptys.get(name);
      return file === undefined ? {} : { file };
    };
    const { serial, console: virtioConsole, debug_console: debug } = config;
    return {
      ...config,
      serial: { ...serial, ...pathOf("--serial") },
      console: { ...virtioConsole, ...pathOf("--console") },
      ...(debug && { debug_console: { ...debug, ...pathOf("--debug-console") } }),
    };
  }

  /** The size of the terminal that the virtio console is on, if it is on one. */
  get consoleSize(): { readonly columns: number; readonly rows: number } | undefined {
    return this.#sizeFd === undefined ? undefined : terminalSize(this.#sizeFd);
  }

  /** Closes everything. No thread may use it any more. */
  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}

/** Opens ends and gives each its ring. */
class Opener {
  readonly chardevs: ChardevWiring[] = [];
  readonly ptys = new Map<string, string>();
  readonly #resources: DisposableStack;
  readonly #arena: SharedArena;
  #terminal: ChardevWiring | undefined;

  /** @param resources gets everything that is opened */
  constructor(resources: DisposableStack) {
    this.#resources = resources;
    this.#arena = resources.adopt(new SharedArena(MAX_CHARDEVS * (OutputRing.blockSize + CACHE_LINE)), (arena) =>
      arena.close(),
    );
  }

  /** The terminal's output, the same for all that use it. */
  terminal(): OutputWiring | undefined {
    if (this.#terminal === undefined) {
      const end = openTerminal();
      if (end !== undefined) this.#terminal = this.#add("the terminal", end);
    }
    return this.#terminal?.output;
  }

  /** @returns undefined when there is to be no device. @throws ConsoleError */
  open(name: string, request: ConsoleRequest): ConsoleEnd | undefined {
    switch (request.mode) {
      case "Off":
        return undefined;
      case "Null":
        return NOWHERE;
      case "Tty":
        return { output: this.terminal(), takesInput: true };
      default: {
        const end = openEnd(name, request);
        if (end.ptyPath !== undefined) this.ptys.set(name, end.ptyPath);
        return { output: this.#add(name, end).output, takesInput: request.mode !== "File" };
      }
    }
  }

  #add(name: string, { end, socketPath }: OpenEnd): ChardevWiring {
    const resources = this.#resources;
    for (const fd of descriptorsOf(end)) resources.defer(() => libc.close(fd));
    if (socketPath !== undefined) removeAtEnd(resources, socketPath);
    const doorbell = resources.adopt(createEventFd(), (fd) => libc.close(fd));
    const output = { block: refTo(this.#arena.allocate(OutputRing.blockSize)), doorbell };
    const ring = new OutputRing(output);
    ring.reset();
    resources.defer(() => {
      if (ring.clientFd >= 0) libc.close(ring.clientFd);
    });
    const wiring = { name, output, end };
    this.chardevs.push(wiring);
    return wiring;
  }
}

/** Removes a file with the resources, or when the process ends before that. */
function removeAtEnd(resources: DisposableStack, path: string): void {
  const remove = (): void => {
    libc.unlink(cString(path));
  };
  process.once("exit", remove);
  resources.defer(() => {
    process.off("exit", remove);
    remove();
  });
}
