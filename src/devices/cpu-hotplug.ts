import type { MemoryBlock } from "../host/memory-block.ts";
import { bytes, struct, u32 } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";

/** Registers, as the DSDT's PRST region describes them. */
const SELECT = 0;
const STATUS = 4;

/** Bits of the status register: state when read, acknowledgement when written. */
const PRESENT = 0x01;
const INSERTING = 0x02;
const REMOVING = 0x04;

const describe = (maxVcpus: number) => struct("CPU controller state", { selected: u32, status: bytes(maxVcpus) });

/** The CPU controller's registers in the platform device area: which of the possible vCPUs are present. */
export class CpuHotplug implements BusDevice, StatefulDevice {
  readonly #block: StateBlockOf<ReturnType<typeof describe>>;
  readonly #bootVcpus: number;

  /** @param memory `CpuHotplug.blockSize(maxVcpus)` bytes of the shared arena */
  constructor(memory: MemoryBlock, bootVcpus: number, maxVcpus: number) {
    this.#block = new StateBlock(describe(maxVcpus), memory);
    this.#bootVcpus = bootVcpus;
  }

  /** Bytes of shared memory. */
  static blockSize(maxVcpus: number): number {
    return StateBlock.sizeOf(describe(maxVcpus));
  }

  reset(): void {
    const { state } = this.#block;
    state.selected = 0;
    state.status.fill(0).fill(PRESENT, 0, this.#bootVcpus);
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
  }

  read(access: BusAccess): void {
    const { lock, state } = this.#block;
    lock.acquire();
    if (access.offset === SELECT && access.size === 4) access.lo = state.selected;
    else if (access.offset === STATUS && access.size === 1) access.lo = state.status[state.selected] ?? 0;
    else {
      access.lo = 0;
      access.hi = 0;
    }
    lock.release();
  }

  /** An eject is honoured only while a removal is asked for, and nothing here asks for one. */
  write(access: BusAccess): void {
    const { lock, state } = this.#block;
    lock.acquire();
    if (access.offset === SELECT && access.size === 4) state.selected = access.lo;
    else if (access.offset === STATUS && access.size === 1) {
      const status = state.status[state.selected];
      if (status !== undefined) state.status[state.selected] = status & ~(access.lo & (INSERTING | REMOVING));
    }
    lock.release();
  }
}
