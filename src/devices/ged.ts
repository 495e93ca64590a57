import type { MemoryBlock } from "../host/memory-block.ts";
import { struct, u8 } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";
import type { InterruptLine } from "./lines.ts";

/** What the guest is told of: bits of the event register, as the DSDT's ESCN method tests them. */
export const GedEvent = {
  CPU_HOTPLUG: 0x01,
  MEMORY_HOTPLUG: 0x02,
  PCI_HOTPLUG: 0x04,
  POWER_BUTTON: 0x08,
  VM_GENERATION: 0x10,
} as const;
export type GedEvent = (typeof GedEvent)[keyof typeof GedEvent];

const gedState = struct("GED state", { pending: u8 });

/** The event register behind the Generic Event Device (ACPI 6.5, 5.6.9): one byte that reading clears. */
export class Ged implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(gedState);
  readonly #block: StateBlockOf<typeof gedState>;
  readonly #line: InterruptLine;

  /** @param memory `Ged.blockSize` bytes of the shared arena */
  constructor(memory: MemoryBlock, line: InterruptLine) {
    this.#block = new StateBlock(gedState, memory);
    this.#line = line;
  }

  /** Tells the guest of an event, from any thread. */
  notify(event: GedEvent): void {
    const { lock, state } = this.#block;
    lock.acquire();
    state.pending |= event;
    lock.release();
    this.#line.pulse();
  }

  reset(): void {
    this.#block.state.pending = 0;
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
  }

  read(access: BusAccess): void {
    if (access.size !== 1 || access.offset !== 0) return;
    const { lock, state } = this.#block;
    lock.acquire();
    access.lo = state.pending;
    state.pending = 0;
    lock.release();
  }

  write(): void {}
}
