import { libc } from "../../host/libc.ts";
import { scratch } from "../../host/scratch.ts";
import { struct, u32, u32s } from "../../host/struct.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { type BlockRef, blockAt } from "../../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../../threads/state-block.ts";
import type { BusAccess } from "../bus.ts";
import type { BarMover } from "../pci/bar.ts";
import { ConfigLayout } from "../pci/config-layout.ts";
import { PlainFunction } from "../pci/plain-function.ts";
import { perform, REQUEST_BYTES, requestAt } from "./requests.ts";

const VENDOR_GOOGLE = 0x1ae0;
const DEVICE_PVMEMCONTROL = 0x0087;
const SUBSYSTEM = 0x011f;
const CLASS_SYSTEM = 0x08;
const SUBCLASS_OTHER = 0x80;
/** I/O and memory decoding and SERR# are on, as upstream's device has it. */
const COMMAND_AT_POWER_ON = 0x0103;

/** Bytes of BAR 0: a payload of 8 bytes, and a command of 4. */
export const PVMEMCONTROL_BAR_BYTES = 16;
const COMMAND = 8;

/** What the command register takes, and the first two what it answers. */
const Command = {
  ACK: 0x03cf_5196,
  ERROR: 0x01fb_a249,
  RESET: 0x060f_e6d2,
  REGISTER: 0x0e35_9539,
  READY: 0x0ca8_d227,
  DISCONNECT: 0x030f_5da0,
} as const;
/** Numbers of connections start here; written as a command, one has the request in its buffer carried out. */
const FIRST_CONNECTION = 0x8000_0000;
/** As many as a machine can have processors. */
const MAX_CONNECTIONS = 8192;

const Phase = { BROKEN: 0, REGISTERING: 1, READY: 2 } as const;

const HIGH = 0x1_0000_0000;

const pvmemcontrolState = struct("pvmemcontrol state", {
  phase: u32,
  command: u32,
  payload: u32s(2),
  connections: u32,
  /** How often mappings of RAM may have been split. */
  splits: u32,
  /** Guest addresses of the connections' buffers: low and high half. */
  buffers: u32s(2 * MAX_CONNECTIONS),
});

/** A memory control device as plain data. */
export interface PvmemcontrolWiring {
  readonly id: string;
  /** `Pvmemcontrol.blockSize` bytes. */
  readonly block: BlockRef;
  /** `Pvmemcontrol.stateSize` bytes. */
  readonly state: BlockRef;
  /** BAR 0 at power-on: 32-bit, `PVMEMCONTROL_BAR_BYTES`. */
  readonly bar0: number;
}

/**
 * Lets a guest say how the host is to treat parts of its RAM. Its driver registers a buffer for each processor, which then asks
 * by writing its connection's number: the access returns when the request is done.
 */
export class Pvmemcontrol extends PlainFunction {
  /** Bytes of shared memory beside the function's own. */
  static readonly stateSize = StateBlock.sizeOf(pvmemcontrolState);
  readonly #block: StateBlockOf<typeof pvmemcontrolState>;
  readonly #ram: GuestMemory;

  constructor(wiring: PvmemcontrolWiring, host: { readonly mover: BarMover; readonly ram: GuestMemory }) {
    super(layoutAt(wiring.bar0), wiring.block, host.mover);
    this.#block = new StateBlock(pvmemcontrolState, blockAt(wiring.state));
    this.#ram = host.ram;
  }

  override reset(): void {
    super.reset();
    this.#block.state.splits = 0;
    this.#enter(Phase.BROKEN, Command.ERROR);
  }

  override save(): Uint8Array {
    const own = super.save();
    const saved = new Uint8Array(own.length + pvmemcontrolState.size);
    saved.set(own);
    saved.set(this.#block.save(), own.length);
    return saved;
  }

  /** @throws RangeError when `saved` is not a state of this device */
  override restore(saved: Uint8Array): void {
    const own = Math.max(0, saved.length - pvmemcontrolState.size);
    super.restore(saved.subarray(0, own));
    this.#block.restore(saved.subarray(own));
    const { phase, connections } = this.#block.state;
    if (phase > Phase.READY || connections > MAX_CONNECTIONS)
      throw new RangeError(`saved memory control device in phase ${phase} with ${connections} connections`);
  }

  readBar(_bar: number, access: BusAccess): void {
    const { lock, state } = this.#block;
    lock.acquire();
    const words = [state.payload[0] ?? 0, state.payload[1] ?? 0, state.command, 0, 0];
    lock.release();
    const first = access.offset >>> 2;
    const shift = (access.offset & 3) * 8;
    const at = (i: number): number => {
      const low = (words[first + i] ?? 0) >>> shift;
      return (shift === 0 ? low : low | ((words[first + i + 1] ?? 0) << (32 - shift))) >>> 0;
    };
    access.lo = at(0);
    access.hi = at(1);
  }

  writeBar(_bar: number, { offset, size, lo, hi }: BusAccess): void {
    const { lock, state } = this.#block;
    if (offset === COMMAND) {
      if (size === 4) this.#command(lo);
      return;
    }
    lock.acquire();
    if (offset === 0 && size >= 4) state.payload[0] = lo;
    if (offset === 0 && size === 8) state.payload[1] = hi;
    if (offset === 4 && size === 4) state.payload[1] = lo;
    lock.release();
  }

  #command(value: number): void {
    const { lock } = this.#block;
    lock.acquire();
    const buffer = value >= FIRST_CONNECTION ? this.#bufferOf(value - FIRST_CONNECTION) : undefined;
    if (buffer === undefined) this.#obey(value);
    lock.release();
    // A request may take long: other processors have theirs carried out meanwhile.
    if (buffer !== undefined) this.#serve(buffer);
  }

  #obey(command: number): void {
    const { state } = this.#block;
    const { phase } = state;
    switch (command) {
      case Command.RESET:
        state.connections = 0;
        this.#enter(Phase.REGISTERING, Command.ACK);
        break;
      case Command.REGISTER:
        if (phase === Phase.REGISTERING) this.#register();
        else this.#enter(Phase.BROKEN, Command.ERROR);
        break;
      case Command.READY:
        if (phase === Phase.REGISTERING) this.#enter(Phase.READY, Command.ACK);
        else this.#enter(Phase.BROKEN, Command.ERROR);
        break;
      case Command.DISCONNECT:
      case Command.ACK:
      case Command.ERROR:
        this.#enter(Phase.BROKEN, Command.ERROR);
        break;
    }
  }

  /** The payload says where the buffer is, and then which connection it belongs to. */
  #register(): void {
    const { state } = this.#block;
    const { connections, payload, buffers } = state;
    const gpa = (payload[0] ?? 0) + (payload[1] ?? 0) * HIGH;
    if (connections === MAX_CONNECTIONS || !this.#ram.contains(gpa, REQUEST_BYTES)) {
      this.#enter(Phase.BROKEN, Command.ERROR);
      return;
    }
    buffers.set(payload, 2 * connections);
    state.connections = connections + 1;
    this.#enter(Phase.REGISTERING, Command.ACK);
    payload[0] = FIRST_CONNECTION + connections;
  }

  #enter(phase: number, command: number): void {
    const { state } = this.#block;
    state.phase = phase;
    state.command = command;
    state.payload.fill(0);
  }

  #bufferOf(connection: number): number | undefined {
    const { phase, connections, buffers } = this.#block.state;
    if (phase !== Phase.READY || connection >= connections) return undefined;
    return (buffers[2 * connection] ?? 0) + (buffers[2 * connection + 1] ?? 0) * HIGH;
  }

  #serve(gpa: number): void {
    const hva = this.#ram.hva(gpa, REQUEST_BYTES);
    if (hva === 0) return;
    const { view, address } = scratch();
    libc.memmove(address, hva, REQUEST_BYTES);
    const { errno, code, value, major } = perform(this.#ram, requestAt(view), () => this.#countSplit());
    view.setUint32(0, errno, true);
    view.setUint32(4, code, true);
    for (const [i, word] of [value, major, 0].entries()) view.setBigUint64(8 * (i + 1), BigInt(word), true);
    libc.memmove(hva, address, REQUEST_BYTES);
  }

  /** @returns how often mappings may have been split, with this time */
  #countSplit(): number {
    const { lock, state } = this.#block;
    lock.acquire();
    const splits = Math.min(state.splits + 1, 0xffff_ffff);
    state.splits = splits;
    lock.release();
    return splits;
  }
}

function layoutAt(bar0: number): ConfigLayout {
  const layout = new ConfigLayout({
    vendor: VENDOR_GOOGLE,
    device: DEVICE_PVMEMCONTROL,
    subsystemVendor: VENDOR_GOOGLE,
    subsystem: SUBSYSTEM,
    revision: 1,
    baseClass: CLASS_SYSTEM,
    subclass: SUBCLASS_OTHER,
    command: COMMAND_AT_POWER_ON,
  });
  layout.addBar({ index: 0, kind: "memory32", size: PVMEMCONTROL_BAR_BYTES, address: bar0 });
  return layout;
}
