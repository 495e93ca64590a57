import { struct, u32, u32s, type ViewOf } from "../../host/struct.ts";
import type { Bar, BarLayout, BarMover } from "./bar.ts";
import {
  BAR_TYPE_BITS,
  barTypeBits,
  COMMAND_MEMORY,
  CONFIG_DWORDS,
  CONFIG_REGISTER_BYTES,
  type ConfigLayout,
  ConfigRegister,
  MAX_BARS,
} from "./config-layout.ts";

/** The changeable part of a function's configuration space. */
export const configSpaceState = struct("PCI configuration space state", {
  registers: u32s(CONFIG_DWORDS),
  /** Where each BAR is decoded: low and high half. */
  mapped: u32s(2 * MAX_BARS),
  /** Bit n: BAR n was given an address that takes effect when memory decoding is switched on. */
  pending: u32,
});

const ALL_ONES = 0xffff_ffff;
const HIGH = 0x1_0000_0000;

/**
 * Configuration space of a function with a type 0 header: registers with write masks, and base address registers that the
 * guest may probe and move. Only writes of four bytes change a BAR, for 64-bit ones the write of the upper half; a move
 * waits until memory decoding is on; one that is refused puts the old address back.
 *
 * All methods need the function's lock.
 */
export class ConfigSpace {
  readonly bars: readonly Bar[];
  readonly #layout: ConfigLayout;
  readonly #state: ViewOf<typeof configSpaceState>;
  readonly #mover: BarMover;

  /**
   * @param mover grants BAR addresses
   * @param moved told of each BAR that is mapped elsewhere, before any access is decoded there
   */
  constructor(
    layout: ConfigLayout,
    state: ViewOf<typeof configSpaceState>,
    mover: BarMover,
    moved: (bar: Bar, from: number, to: number) => void = () => undefined,
  ) {
    this.#layout = layout;
    this.#state = state;
    this.#mover = mover;
    this.bars = layout.bars.map((bar) => new LiveBar(bar, state.mapped, moved));
  }

  /** Power-on values, BARs at the addresses of the layout. */
  reset(): void {
    const { registers, mapped } = this.#state;
    registers.set(this.#layout.initial);
    for (const { index, address } of this.bars) setHalves(mapped, index, address);
    for (const bar of this.bars) this.#showMapped(bar);
    this.#state.pending = 0;
  }

  /**
   * Judges a state that came from outside.
   * @throws RangeError when a BAR is mapped where it cannot be
   */
  validate(): void {
    for (const bar of this.bars)
      if (!this.#mover.allows(bar, bar.mapped))
        throw new RangeError(`saved BAR ${bar.index} of ${bar.size} bytes is mapped at 0x${bar.mapped.toString(16)}`);
  }

  /** The dword that holds `offset`, 0 beyond the registers. */
  dword(offset: number): number {
    return this.#state.registers[offset >>> 2] ?? 0;
  }

  /** Reads `size` bytes inside one dword. */
  read(offset: number, size: number): number {
    return part(this.dword(offset), offset, size);
  }

  /** Writes `size` bytes inside one dword. */
  write(offset: number, size: number, value: number): void {
    if (offset >= CONFIG_REGISTER_BYTES) return;
    const register = offset & ~3;
    if (register >= ConfigRegister.BAR0 && register < ConfigRegister.BAR0 + 4 * MAX_BARS) {
      if (size === 4) this.#writeBar((register - ConfigRegister.BAR0) / 4, value);
      return;
    }
    const { registers } = this.#state;
    const shift = (offset & 3) * 8;
    const written = size === 4 ? ALL_ONES : ((1 << (size * 8)) - 1) << shift;
    const mask = (this.#layout.writable[register >>> 2] ?? 0) & written;
    registers[register >>> 2] = ((registers[register >>> 2] ?? 0) & ~mask) | ((value << shift) & mask);
    if (register === ConfigRegister.COMMAND) this.#applyPending();
  }

  #writeBar(register: number, value: number): void {
    const { registers } = this.#state;
    const at = ConfigRegister.BAR0 / 4 + register;
    for (const bar of this.bars) {
      const { index, kind, size } = bar;
      if (register === index) {
        registers[at] = (value & lowMask(size)) | barTypeBits(bar);
        if (kind === "memory32") this.#request(bar, (value & lowMask(size)) >>> 0 === lowMask(size));
      } else if (register === index + 1 && kind === "memory64") {
        registers[at] = value & highMask(size);
        this.#request(bar, value >>> 0 === ALL_ONES);
      }
    }
  }

  /** The guest has written a whole address: a probe for the size, or a wish. */
  #request(bar: Bar, probe: boolean): void {
    if (probe) return;
    const bit = 1 << bar.index;
    if (this.#shown(bar) === bar.mapped) this.#state.pending &= ~bit;
    else this.#state.pending |= bit;
    this.#applyPending();
  }

  #applyPending(): void {
    const { pending } = this.#state;
    if (pending === 0 || (this.dword(ConfigRegister.COMMAND) & COMMAND_MEMORY) === 0) return;
    this.#state.pending = 0;
    for (const bar of this.bars)
      if ((pending & (1 << bar.index)) !== 0 && !this.#mover.move(bar, this.#shown(bar))) this.#showMapped(bar);
  }

  /** The address that the registers hold. */
  #shown({ index, kind }: Bar): number {
    const { registers } = this.#state;
    const at = ConfigRegister.BAR0 / 4 + index;
    const low = ((registers[at] ?? 0) & ~BAR_TYPE_BITS) >>> 0;
    return kind === "memory64" ? (registers[at + 1] ?? 0) * HIGH + low : low;
  }

  #showMapped(bar: Bar): void {
    const { registers } = this.#state;
    const { index, kind, mapped } = bar;
    const at = ConfigRegister.BAR0 / 4 + index;
    registers[at] = (mapped % HIGH) | barTypeBits(bar);
    if (kind === "memory64") registers[at + 1] = Math.floor(mapped / HIGH);
  }
}

/** The `size` bytes at `offset` of the dword that holds them. */
export function part(dword: number, offset: number, size: number): number {
  const value = dword >>> ((offset & 3) * 8);
  return size === 4 ? value : value & ((1 << (size * 8)) - 1);
}

const lowMask = (size: number): number => (size >= HIGH ? 0 : (~(size - 1) & ~BAR_TYPE_BITS) >>> 0);
const highMask = (size: number): number => (size <= HIGH ? ALL_ONES : ~(size / HIGH - 1) >>> 0);

function setHalves(halves: Uint32Array, index: number, address: number): void {
  halves[2 * index] = address % HIGH;
  halves[2 * index + 1] = Math.floor(address / HIGH);
}

class LiveBar implements Bar {
  readonly index: number;
  readonly kind: BarLayout["kind"];
  readonly size: number;
  readonly prefetchable: boolean;
  readonly address: number;
  readonly #halves: Uint32Array;
  readonly #moved: (bar: Bar, from: number, to: number) => void;

  constructor(layout: BarLayout, halves: Uint32Array, moved: (bar: Bar, from: number, to: number) => void) {
    this.index = layout.index;
    this.kind = layout.kind;
    this.size = layout.size;
    this.prefetchable = layout.prefetchable === true;
    this.address = layout.address;
    this.#halves = halves;
    this.#moved = moved;
  }

  get mapped(): number {
    return (this.#halves[2 * this.index] ?? 0) + (this.#halves[2 * this.index + 1] ?? 0) * HIGH;
  }

  remap(address: number): void {
    const from = this.mapped;
    setHalves(this.#halves, this.index, address);
    this.#moved(this, from, address);
  }
}
