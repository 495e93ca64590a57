import type { BarLayout } from "./bar.ts";

/** Bytes of configuration space that hold registers. The rest of the 4096, where extended capabilities lie, reads 0. */
export const CONFIG_REGISTER_BYTES = 256;
export const CONFIG_DWORDS = CONFIG_REGISTER_BYTES / 4;

/** Registers of a type 0 header (PCI 3.0, 6.1). */
export const ConfigRegister = {
  ID: 0x00,
  COMMAND: 0x04,
  CLASS: 0x08,
  CACHE_LINE: 0x0c,
  BAR0: 0x10,
  SUBSYSTEM: 0x2c,
  CAPABILITIES: 0x34,
  INTERRUPT: 0x3c,
} as const;

/** Memory decoding (6.2.2). */
export const COMMAND_MEMORY = 0x2;
const STATUS_CAPABILITIES = 0x10 << 16;

/** BAR type bits (6.2.5.1). */
const BAR_64BIT = 0x4;
const BAR_PREFETCHABLE = 0x8;
export const BAR_TYPE_BITS = 0xf;
export const MAX_BARS = 6;

/** Capabilities start behind the header and end here. */
const FIRST_CAPABILITY = 0x40;
const CAPABILITIES_END = 0xc0;

/** What a function says it is. */
export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
  readonly revision: number;
  readonly baseClass: number;
  readonly subclass: number;
  readonly programmingInterface?: number;
  /** The command register at power-on. */
  readonly command?: number;
}

/** The fixed part of a function's configuration space: power-on values and which bits the guest may write. */
export class ConfigLayout {
  readonly initial = new Uint32Array(CONFIG_DWORDS);
  readonly writable = new Uint32Array(CONFIG_DWORDS);
  readonly bars: BarLayout[] = [];
  #end = FIRST_CAPABILITY;
  /** Offset of the byte that points to the next capability. */
  #link: number = ConfigRegister.CAPABILITIES;

  constructor(identity: PciIdentity) {
    const { initial, writable } = this;
    const { baseClass, subclass, programmingInterface = 0, revision, command = 0 } = identity;
    initial[ConfigRegister.ID / 4] = identity.vendor | (identity.device << 16);
    initial[ConfigRegister.COMMAND / 4] = command;
    initial[ConfigRegister.CLASS / 4] = revision | (programmingInterface << 8) | (subclass << 16) | (baseClass << 24);
    initial[ConfigRegister.SUBSYSTEM / 4] = identity.subsystemVendor | (identity.subsystem << 16);
    writable[ConfigRegister.COMMAND / 4] = 0xffff;
    writable[ConfigRegister.CACHE_LINE / 4] = 0xff;
    writable[ConfigRegister.INTERRUPT / 4] = 0xff;
  }

  /** Adds a base address register. @throws RangeError when it is impossible or taken */
  addBar(bar: BarLayout): void {
    const { index, kind, size, address } = bar;
    const registers = kind === "memory64" ? 2 : 1;
    const taken = this.bars.some((other) => index <= lastRegister(other) && other.index < index + registers);
    if (!Number.isInteger(index) || index < 0 || index + registers > MAX_BARS || taken)
      throw new RangeError(`BAR ${index} cannot be added`);
    if (size < 16 || !Number.isInteger(Math.log2(size)) || address % size !== 0)
      throw new RangeError(`BAR ${index} of ${size} bytes at 0x${address.toString(16)}`);
    this.bars.push(bar);
  }

  /**
   * Appends a capability (6.7).
   * @param body what follows the id and the link to the next one
   * @param writable the bits of `body` that the guest may write; none when absent
   * @returns its offset
   * @throws RangeError when there is no room
   */
  addCapability(id: number, body: Uint8Array, writable?: Uint8Array): number {
    const offset = this.#end;
    const end = Math.ceil((offset + 2 + body.length) / 4) * 4;
    if (end > CAPABILITIES_END) throw new RangeError(`no room for PCI capability 0x${id.toString(16)}`);
    this.#end = end;
    const initial = new Uint8Array(this.initial.buffer);
    initial[this.#link] = offset;
    initial[offset] = id;
    initial.set(body, offset + 2);
    if (writable !== undefined) new Uint8Array(this.writable.buffer).set(writable, offset + 2);
    this.initial[ConfigRegister.COMMAND / 4] = (this.initial[ConfigRegister.COMMAND / 4] ?? 0) | STATUS_CAPABILITIES;
    this.#link = offset + 1;
    return offset;
  }
}

/** The type bits of a BAR's first register. */
export const barTypeBits = ({ kind, prefetchable }: BarLayout): number =>
  (kind === "memory64" ? BAR_64BIT : 0) | (prefetchable === true ? BAR_PREFETCHABLE : 0);

const lastRegister = ({ index, kind }: BarLayout): number => (kind === "memory64" ? index + 1 : index);
