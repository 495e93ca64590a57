import type { MemoryBlock } from "../host/memory-block.ts";
import { struct, u32, u32s, type ViewOf } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";
import { PCI_SLOTS } from "./pci/segment.ts";

/** Offsets of the registers, named as in the DSDT (machine/acpi/dsdt/pci-hotplug.ts). */
const Register = {
  /** PCIU: slots that were plugged; reading clears. */
  PLUGGED: 0x0,
  /** PCID: slots whose devices the guest should give up; reading clears. */
  UNPLUG: 0x4,
  /** B0EJ: slots whose devices the guest gives up. */
  EJECT: 0x8,
  /** PSEG: the segment that the others speak of. */
  SEGMENT: 0xc,
} as const;

/** The most segments that a machine can have. */
const MAX_SEGMENTS = 96;

const pciHotplugState = struct("PCI hotplug controller state", {
  segment: u32,
  plugged: u32s(MAX_SEGMENTS),
  unplug: u32s(MAX_SEGMENTS),
});

type PciHotplugState = ViewOf<typeof pciHotplugState>;

/** Told of each slot in which the guest gives up whatever there is, on the thread of the vCPU that does. */
export type EjectListener = (segment: number, slot: number) => void;

/** The PCI hotplug controller's registers in the platform device area, one bit a slot. All accesses have 32 bits. */
export class PciHotplug implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(pciHotplugState);
  readonly #block: StateBlockOf<typeof pciHotplugState>;
  readonly #segments: number;
  readonly #eject: EjectListener;

  /** @param memory `PciHotplug.blockSize` bytes of the shared arena */
  constructor(memory: MemoryBlock, segments: number, eject: EjectListener) {
    if (segments > MAX_SEGMENTS) throw new RangeError(`${segments} PCI segments are more than ${MAX_SEGMENTS}`);
    this.#block = new StateBlock(pciHotplugState, memory);
    this.#segments = segments;
    this.#eject = eject;
  }

  /** A device was plugged into a slot. The guest looks when the event device tells it to. From any thread. */
  plugged(segment: number, slot: number): void {
    this.#change(({ plugged }) => setBit(plugged, segment, slot));
  }

  /** The guest should give up the device in a slot. Otherwise as `plugged`. */
  requestEject(segment: number, slot: number): void {
    this.#change(({ unplug }) => setBit(unplug, segment, slot));
  }

  /** A slot is empty: what the guest has not read about it is void. From any thread. */
  forget(segment: number, slot: number): void {
    this.#change(({ plugged, unplug }) => {
      clearBit(plugged, segment, slot);
      clearBit(unplug, segment, slot);
    });
  }

  reset(): void {
    const { state } = this.#block;
    state.segment = 0;
    state.plugged.fill(0);
    state.unplug.fill(0);
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
    const { segment } = this.#block.state;
    if (segment >= this.#segments)
      throw new RangeError(`the saved PCI hotplug controller speaks of segment ${segment} of ${this.#segments}`);
  }

  read(access: BusAccess): void {
    if (access.size !== 4) return;
    const { lock, state } = this.#block;
    lock.acquire();
    access.lo = this.#take(state, access.offset);
    lock.release();
  }

  write(access: BusAccess): void {
    const { offset, size, lo: value } = access;
    if (size !== 4) return;
    const { lock, state } = this.#block;
    lock.acquire();
    const { segment } = state;
    if (offset === Register.SEGMENT && value < this.#segments) state.segment = value;
    lock.release();
    if (offset !== Register.EJECT) return;
    for (let slot = 0; slot < PCI_SLOTS; slot++) if (((value >>> slot) & 1) !== 0) this.#eject(segment, slot);
  }

  #take(state: PciHotplugState, offset: number): number {
    switch (offset) {
      case Register.PLUGGED:
        return takeBits(state.plugged, state.segment);
      case Register.UNPLUG:
        return takeBits(state.unplug, state.segment);
      case Register.SEGMENT:
        return state.segment;
      default:
        return 0;
    }
  }

  #change(act: (state: PciHotplugState) => void): void {
    const { lock, state } = this.#block;
    lock.acquire();
    act(state);
    lock.release();
  }
}

function setBit(bitmaps: Uint32Array, segment: number, slot: number): void {
  bitmaps[segment] = (bitmaps[segment] ?? 0) | (1 << slot);
}

function clearBit(bitmaps: Uint32Array, segment: number, slot: number): void {
  bitmaps[segment] = (bitmaps[segment] ?? 0) & ~(1 << slot);
}

function takeBits(bitmaps: Uint32Array, segment: number): number {
  const bits = bitmaps[segment] ?? 0;
  bitmaps[segment] = 0;
  return bits;
}
