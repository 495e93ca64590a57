import { signalEventFd } from "../../host/eventfd.ts";
import { blockAt } from "../../threads/block-ref.ts";
import { StateBlock, type StateBlockOf } from "../../threads/state-block.ts";
import type { BusAccess, BusDevice } from "../bus.ts";
import type { StatefulDevice } from "../device.ts";
import { BUFFER_BYTES, Status, type TpmWiring, tpmState } from "./state.ts";

/** Bytes of the registers and the buffer of locality 0, the only one. */
export const CRB_BYTES = 0x1000;

/** Registers of locality 0 (TCG PC Client Platform TPM Profile 1.05, 6.5.3). */
const Register = {
  LOC_STATE: 0x00,
  LOC_CTRL: 0x08,
  LOC_STS: 0x0c,
  INTF_ID: 0x30,
  INTF_VENDOR: 0x34,
  CTRL_REQ: 0x40,
  CTRL_STS: 0x44,
  CTRL_CANCEL: 0x48,
  CTRL_START: 0x4c,
  /** The first of `places`. */
  CMD_SIZE: 0x58,
  /** Behind the last of them. */
  PLACES_END: 0x70,
  BUFFER: 0x80,
} as const;

const NOT_ESTABLISHED = 1 << 0;
const ASSIGNED = 1 << 1;
const STATE_VALID = 1 << 7;
const REQUEST_ACCESS = 1 << 0;
const RELINQUISH = 1 << 1;
const GRANTED = 1 << 0;
const COMMAND_READY = 1;
const GO_IDLE = 2;
const START = 1;
const CANCEL = 1;

/** CRB interface of version 1, which is selected and the only one, with transfers of 64 bytes. */
const INTERFACE = 0x1 | (1 << 4) | (3 << 11) | (1 << 14) | (1 << 17);
const VENDOR_IBM = 0x1014;

/** The TPM's registers on a thread of a vCPU: commands are carried out elsewhere, and CTRL_START tells when they are done. */
export class CrbTpm implements BusDevice, StatefulDevice {
  static readonly blockSize = StateBlock.sizeOf(tpmState);
  readonly #block: StateBlockOf<typeof tpmState>;
  readonly #wiring: TpmWiring;
  readonly #base: number;

  /** @param base where the guest sees the registers */
  constructor(wiring: TpmWiring, base: number) {
    this.#wiring = wiring;
    this.#base = base;
    this.#block = new StateBlock(tpmState, blockAt(wiring.block));
  }

  reset(): void {
    const { state } = this.#block;
    Atomics.store(state.start, 0, 0);
    Atomics.store(state.cancel, 0, 0);
    Atomics.store(state.status, 0, Status.IDLE);
    state.granted = 0;
    const buffer = this.#base + Register.BUFFER;
    state.places.set([BUFFER_BYTES, buffer, 0, BUFFER_BYTES, buffer, 0]);
    state.buffer.fill(0);
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  /** A command that was being carried out is carried out again, by the TPM that is there now. */
  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
    const { start } = this.#block.state;
    Atomics.store(start, 0, Atomics.load(start, 0) & START);
  }

  read(access: BusAccess): void {
    const { lock } = this.#block;
    lock.acquire();
    access.lo = 0;
    access.hi = 0;
    for (let i = Math.min(access.size, CRB_BYTES - access.offset) - 1; i >= 0; i--) {
      const byte = this.#byte(access.offset + i);
      if (i < 4) access.lo = ((access.lo << 8) | byte) >>> 0;
      else access.hi = ((access.hi << 8) | byte) >>> 0;
    }
    lock.release();
  }

  write(access: BusAccess): void {
    const { offset } = access;
    const size = Math.min(access.size, CRB_BYTES - offset);
    const { lock } = this.#block;
    lock.acquire();
    if (offset >= Register.BUFFER) this.#writeBuffer(offset - Register.BUFFER, size, access);
    else
      for (let register = offset & ~3; register < offset + size; register += 4) {
        let value = 0;
        let mask = 0;
        for (let i = Math.max(offset, register); i < Math.min(offset + size, register + 4); i++) {
          value |= byteOf(access, i - offset) << ((i & 3) * 8);
          mask |= 0xff << ((i & 3) * 8);
        }
        this.#writeRegister(register, value, mask);
      }
    lock.release();
  }

  #byte(offset: number): number {
    if (offset >= Register.BUFFER) return this.#block.state.buffer[offset - Register.BUFFER] ?? 0;
    return (this.#register(offset & ~3) >>> ((offset & 3) * 8)) & 0xff;
  }

  #register(register: number): number {
    const { state } = this.#block;
    switch (register) {
      case Register.LOC_STATE:
        return STATE_VALID | (state.granted === 0 ? 0 : ASSIGNED) | (this.#wiring.established ? 0 : NOT_ESTABLISHED);
      case Register.LOC_STS:
        return state.granted === 0 ? 0 : GRANTED;
      case Register.INTF_ID:
        return INTERFACE;
      case Register.INTF_VENDOR:
        return VENDOR_IBM;
      case Register.CTRL_STS:
        return Atomics.load(state.status, 0);
      case Register.CTRL_CANCEL:
        return Atomics.load(state.cancel, 0);
      case Register.CTRL_START:
        return Atomics.load(state.start, 0);
      default:
        return state.places[(register - Register.CMD_SIZE) / 4] ?? 0;
    }
  }

  #writeRegister(register: number, value: number, mask: number): void {
    const { state } = this.#block;
    if (register === Register.CTRL_CANCEL) {
      if ((value & CANCEL) === 0 || Atomics.load(state.start, 0) === 0) return;
      Atomics.store(state.cancel, 0, CANCEL);
      signalEventFd(this.#wiring.doorbell);
      return;
    }
    if (Atomics.load(state.start, 0) !== 0) return;
    switch (register) {
      case Register.LOC_CTRL:
        if ((value & RELINQUISH) !== 0) state.granted = 0;
        if ((value & REQUEST_ACCESS) !== 0) state.granted = 1;
        break;
      case Register.CTRL_REQ:
        if (value === COMMAND_READY) Atomics.store(state.status, 0, 0);
        else if (value === GO_IDLE) Atomics.or(state.status, 0, Status.IDLE);
        else if (value !== 0) Atomics.or(state.status, 0, Status.ERROR);
        break;
      case Register.CTRL_START:
        if ((value & START) === 0 || state.granted === 0) return;
        Atomics.store(state.cancel, 0, 0);
        Atomics.store(state.start, 0, START);
        signalEventFd(this.#wiring.doorbell);
        break;
      default:
        if (register >= Register.CMD_SIZE && register < Register.PLACES_END) {
          const place = (register - Register.CMD_SIZE) / 4;
          state.places[place] = ((state.places[place] ?? 0) & ~mask) | value;
        }
    }
  }

  /** A write at the start begins a command: nothing of the last response is left behind it. */
  #writeBuffer(at: number, size: number, access: BusAccess): void {
    const { start, buffer } = this.#block.state;
    if (Atomics.load(start, 0) !== 0) return;
    if (at === 0) buffer.fill(0);
    for (let i = 0; i < size; i++) buffer[at + i] = byteOf(access, i);
  }
}

const byteOf = ({ lo, hi }: BusAccess, i: number): number => ((i < 4 ? lo : hi) >>> ((i & 3) * 8)) & 0xff;
