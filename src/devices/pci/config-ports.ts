import { struct, u32 } from "../../host/struct.ts";
import { type BlockRef, blockAt } from "../../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../../threads/state-block.ts";
import type { BusAccess, BusDevice } from "../bus.ts";
import type { StatefulDevice } from "../device.ts";
import { part } from "./config-space.ts";
import type { PciSegment } from "./segment.ts";

const portsState = struct("PCI configuration mechanism 1 state", { address: u32 });

/** Fields of CONFIG_ADDRESS (PCI 3.0, 3.2.2.3.2). */
const ENABLE = 0x8000_0000;
const WRITABLE = 0x80ff_fffc;
const DATA_OFFSET = 4;

/**
 * Configuration mechanism 1 (PCI 3.0, 3.2.2.3.2) at eight ports from 0xCF8: CONFIG_ADDRESS, which all vCPUs share, and
 * CONFIG_DATA. Reaches bus 0 of one segment. Writes do not look at the function number.
 */
export class PciConfigPorts implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(portsState);
  readonly #block: StateBlockOf<typeof portsState>;
  readonly #segment: PciSegment;

  /** @param block `PciConfigPorts.blockSize` bytes */
  constructor(block: BlockRef, segment: PciSegment) {
    this.#block = new StateBlock(portsState, blockAt(block));
    this.#segment = segment;
  }

  reset(): void {
    this.#block.state.address = 0;
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
  }

  read(access: BusAccess): void {
    const { offset, size } = access;
    if ((offset & 3) + size > 4) return;
    const { address } = this.#block.state;
    if (offset < DATA_OFFSET) {
      access.lo = part(address, offset, size);
      return;
    }
    if ((address & ENABLE) === 0 || busOf(address) !== 0 || functionOf(address) !== 0) return;
    const fn = this.#segment.at(slotOf(address));
    if (fn !== undefined) access.lo = fn.readConfig((address & 0xfc) + (offset & 3), size);
  }

  write(access: BusAccess): void {
    const { offset, size, lo } = access;
    if ((offset & 3) + size > 4) return;
    if (offset < DATA_OFFSET) {
      this.#writeAddress(offset, size, lo);
      return;
    }
    const { address } = this.#block.state;
    if ((address & ENABLE) === 0 || busOf(address) !== 0) return;
    this.#segment.at(slotOf(address))?.writeConfig((address & 0xfc) + (offset & 3), size, lo);
  }

  #writeAddress(offset: number, size: number, value: number): void {
    const { lock, state } = this.#block;
    const shift = (offset & 3) * 8;
    const mask = (size === 4 ? WRITABLE : (((1 << (size * 8)) - 1) << shift) & WRITABLE) >>> 0;
    lock.acquire();
    state.address = ((state.address & ~mask) | ((value << shift) & mask)) >>> 0;
    lock.release();
  }
}

const busOf = (address: number): number => (address >>> 16) & 0xff;
const slotOf = (address: number): number => (address >>> 11) & 0x1f;
const functionOf = (address: number): number => (address >>> 8) & 0x7;
