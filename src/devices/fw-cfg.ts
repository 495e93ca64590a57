import { libc } from "../host/libc.ts";
import { scratch } from "../host/scratch.ts";
import { struct, u16, u32 } from "../host/struct.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type BlockRef, blockAt } from "../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";

/** One item that the guest can select (QEMU, docs/specs/fw_cfg.rst). */
export interface FwCfgItem {
  readonly key: number;
  /** Bytes, below 2^32. */
  readonly size: number;
  readonly content: FwCfgContent;
}

/** Where an item's bytes are: in this process, or in a file from `offset` on. */
export type FwCfgContent =
  | { readonly kind: "memory"; readonly address: number }
  | { readonly kind: "file"; readonly fd: number; readonly offset: number };

/** A firmware configuration device as plain data. */
export interface FwCfgWiring {
  /** `FwCfg.blockSize` bytes. */
  readonly block: BlockRef;
  readonly items: readonly FwCfgItem[];
}

/** The ports, from the first. */
const SELECTOR = 0;
const DATA = 1;
const DMA_HIGH = 4;
const DMA_LOW = 8;

/** The structure that a DMA address points to, big-endian: control, length, address. */
const DMA_BYTES = 16;
const Control = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 16 } as const;

/** Linux moves at most this much in one call (read(2)); a multiple of the page size. */
const MAX_READ_BYTES = 0x7fff_f000;

const fwCfgState = struct("fw_cfg state", {
  selector: u16,
  offset: u32,
  /** The upper half of the DMA address, which is written first. */
  dmaHigh: u32,
});

/**
 * Gives firmware and guests what the machine and its user want them to know: items of bytes, selected by a number, read by
 * port or copied into memory. Nothing can be written.
 */
export class FwCfg implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(fwCfgState);
  readonly #block: StateBlockOf<typeof fwCfgState>;
  readonly #items: ReadonlyMap<number, FwCfgItem>;
  readonly #memory: GuestMemory;

  constructor({ block, items }: FwCfgWiring, memory: GuestMemory) {
    this.#block = new StateBlock(fwCfgState, blockAt(block));
    this.#items = new Map(items.map((item) => [item.key, item]));
    this.#memory = memory;
  }

  reset(): void {
    const { state } = this.#block;
    state.selector = 0;
    state.offset = 0;
    state.dmaHigh = 0;
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
  }

  /** The item's next bytes, 0 behind its end. */
  read(access: BusAccess): void {
    if (access.offset !== DATA) return;
    const { lock } = this.#block;
    const { view, address } = scratch();
    lock.acquire();
    this.#copy(address, access.size);
    lock.release();
    access.lo =
      access.size === 1 ? view.getUint8(0) : access.size === 2 ? view.getUint16(0, true) : view.getUint32(0, true);
    access.hi = 0;
  }

  write({ offset, size, lo }: BusAccess): void {
    const { lock, state } = this.#block;
    lock.acquire();
    if (offset === SELECTOR && size === 2) this.#select(lo);
    else if (offset === DMA_HIGH && size === 4) state.dmaHigh = swap(lo);
    else if (offset === DMA_LOW && size === 4) {
      this.#transfer(state.dmaHigh * 0x1_0000_0000 + swap(lo));
      state.dmaHigh = 0;
    }
    lock.release();
  }

  #select(key: number): void {
    const { state } = this.#block;
    state.selector = key;
    state.offset = 0;
  }

  /** @param gpa of a DMA structure, which the guest chooses as it likes */
  #transfer(gpa: number): void {
    const hva = this.#memory.hva(gpa, DMA_BYTES);
    if (hva === 0) return;
    const { view, address } = scratch();
    libc.memmove(address, hva, DMA_BYTES);
    const control = view.getUint32(0);
    const length = view.getUint32(4);
    const target = view.getUint32(8) * 0x1_0000_0000 + view.getUint32(12);
    if ((control & Control.SELECT) !== 0) this.#select(control >>> 16);
    const done = this.#obey(control, target, length);
    view.setUint32(0, done ? 0 : Control.ERROR);
    libc.memmove(hva, address, 4);
  }

  #obey(control: number, target: number, length: number): boolean {
    if ((control & Control.READ) !== 0) {
      const hva = this.#memory.hva(target, length);
      if (hva === 0) return false;
      this.#copy(hva, length);
      return true;
    }
    if ((control & Control.WRITE) !== 0) return false;
    if ((control & Control.SKIP) !== 0) this.#advance(length);
    return true;
  }

  /** Copies the next `length` bytes to host address `hva`. */
  #copy(hva: number, length: number): void {
    const { state } = this.#block;
    const item = this.#items.get(state.selector);
    const there = item === undefined ? 0 : Math.max(0, Math.min(length, item.size - state.offset));
    const copied = item === undefined ? 0 : copy(item.content, state.offset, hva, there);
    if (copied < length) libc.memset(hva + copied, 0, length - copied);
    this.#advance(length);
  }

  #advance(length: number): void {
    const { state } = this.#block;
    state.offset = Math.min(state.offset + length, this.#items.get(state.selector)?.size ?? 0);
  }
}

/** @returns how many bytes were there: fewer when the file has become shorter, or cannot be read */
function copy(content: FwCfgContent, from: number, to: number, length: number): number {
  if (content.kind === "memory") {
    if (length > 0) libc.memmove(to, content.address + from, length);
    return length;
  }
  let done = 0;
  while (done < length) {
    const chunk = Math.min(length - done, MAX_READ_BYTES);
    const count = libc.pread(content.fd, to + done, chunk, content.offset + from + done);
    if (count <= 0) break;
    done += count;
  }
  return done;
}

const swap = (value: number): number =>
  ((value >>> 24) | ((value >>> 8) & 0xff00) | ((value << 8) & 0xff_0000) | (value << 24)) >>> 0;
