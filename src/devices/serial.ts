import type { MemoryBlock } from "../host/memory-block.ts";
import { bytes, struct, u8, u16 } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { ByteSink } from "./byte-sink.ts";
import type { StatefulDevice } from "./device.ts";
import type { InterruptLine } from "./lines.ts";

/** Registers (PC16550D, table 2); the first two are the divisor while LCR.DLAB is set. */
const RBR_THR = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

const IER_RX_AVAILABLE = 0x01;
const IER_TX_EMPTY = 0x02;
const IER_BITS = 0x0f;
const IIR_NONE = 0x01;
const IIR_TX_EMPTY = 0x02;
const IIR_RX_AVAILABLE = 0x04;
const IIR_FIFO_ENABLED = 0xc0;
const LCR_8_BITS = 0x03;
const LCR_DLAB = 0x80;
const MCR_OUT2 = 0x08;
const MCR_LOOPBACK = 0x10;
const LSR_DATA_READY = 0x01;
const LSR_TX_IDLE = 0x60;
/** Carrier, data set ready, clear to send: a line with a terminal at the other end. */
const MSR_CONNECTED = 0xb0;
/** 9600 baud of a 1.8432 MHz clock. */
const RESET_DIVISOR = 12;

/** Input waits here for the guest. Far above 16 so that pasted text need not be paced. */
const QUEUE_BYTES = 4096;
/** The queue in loopback. */
const LOOPBACK_BYTES = 64;

const serialState = struct("serial state", {
  ier: u8,
  iir: u8,
  lcr: u8,
  mcr: u8,
  scr: u8,
  /** Input was refused: whoever has it is to be told when there is room. */
  refused: u8,
  divisor: u16,
  head: u16,
  count: u16,
  queue: bytes(QUEUE_BYTES),
});

/**
 * 16550 UART (PC16550D) at eight ports, byte accesses only. Transmission takes no time; the FIFO control is accepted and
 * without effect. Interrupts are edges.
 */
export class Serial implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(serialState);
  readonly #block: StateBlockOf<typeof serialState>;
  readonly #output: ByteSink;
  readonly #line: InterruptLine;
  readonly #room: () => void;

  /**
   * @param memory `Serial.blockSize` bytes of the shared arena
   * @param output takes what the guest sends
   * @param line raised for input and for "transmitter empty"
   * @param room called, on any thread, when a `receive` that refused input may be tried again
   */
  constructor(memory: MemoryBlock, output: ByteSink, line: InterruptLine, room: () => void) {
    this.#block = new StateBlock(serialState, memory);
    this.#output = output;
    this.#line = line;
    this.#room = room;
  }

  reset(): void {
    const { state } = this.#block;
    state.ier = 0;
    state.iir = IIR_NONE;
    state.lcr = LCR_8_BITS;
    state.mcr = MCR_OUT2;
    state.scr = 0;
    state.refused = 0;
    state.divisor = RESET_DIVISOR;
    state.head = 0;
    state.count = 0;
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
    const { state } = this.#block;
    if (state.head < QUEUE_BYTES && state.count <= QUEUE_BYTES) return;
    state.head = 0;
    state.count = 0;
    throw new RangeError("saved serial port has an impossible input queue");
  }

  /**
   * Input for the guest, from any thread. In loopback it is lost, as on the wire.
   * @returns how many bytes were taken; the rest may be offered again when `room` is called
   */
  receive(input: Uint8Array): number {
    const { lock, state } = this.#block;
    let taken = 0;
    let interrupt = false;
    lock.acquire();
    if ((state.mcr & MCR_LOOPBACK) !== 0) taken = input.length;
    else {
      while (taken < input.length && state.count < QUEUE_BYTES) this.#push(input[taken++] ?? 0);
      if (taken < input.length) state.refused = 1;
      interrupt = taken > 0 && this.#raise(IER_RX_AVAILABLE, IIR_RX_AVAILABLE);
    }
    lock.release();
    if (interrupt) this.#line.pulse();
    return taken;
  }

  read(access: BusAccess): void {
    if (access.size !== 1) return;
    const { lock, state } = this.#block;
    let room = false;
    lock.acquire();
    const divisor = (state.lcr & LCR_DLAB) !== 0;
    switch (access.offset) {
      case RBR_THR:
        if (divisor) access.lo = state.divisor & 0xff;
        else {
          access.lo = this.#pop();
          room = state.refused !== 0 && state.count <= QUEUE_BYTES / 2;
          if (room) state.refused = 0;
        }
        break;
      case IER:
        access.lo = divisor ? state.divisor >> 8 : state.ier;
        break;
      case IIR_FCR:
        access.lo = state.iir | IIR_FIFO_ENABLED;
        state.iir = IIR_NONE;
        break;
      case LCR:
        access.lo = state.lcr;
        break;
      case MCR:
        access.lo = state.mcr;
        break;
      case LSR:
        access.lo = LSR_TX_IDLE | (state.count > 0 ? LSR_DATA_READY : 0);
        break;
      case MSR:
        access.lo = MSR_CONNECTED;
        break;
      case SCR:
        access.lo = state.scr;
        break;
    }
    lock.release();
    if (room) this.#room();
  }

  write(access: BusAccess): void {
    if (access.size !== 1) return;
    const { lock, state } = this.#block;
    const value = access.lo;
    let interrupt = false;
    lock.acquire();
    const divisor = (state.lcr & LCR_DLAB) !== 0;
    switch (access.offset) {
      case RBR_THR:
        if (divisor) state.divisor = (state.divisor & 0xff00) | value;
        else if ((state.mcr & MCR_LOOPBACK) !== 0) interrupt = this.#loopBack(value);
        else {
          this.#output.write(value);
          interrupt = this.#raise(IER_TX_EMPTY, IIR_TX_EMPTY);
        }
        break;
      case IER:
        if (divisor) state.divisor = (state.divisor & 0xff) | (value << 8);
        else interrupt = this.#enable(value & IER_BITS);
        break;
      case LCR:
        state.lcr = value;
        break;
      case MCR:
        state.mcr = value;
        break;
      case SCR:
        state.scr = value;
        break;
    }
    lock.release();
    if (interrupt) this.#line.pulse();
  }

  /** Input that came while its interrupt was off is announced when it is switched on. */
  #enable(ier: number): boolean {
    const { state } = this.#block;
    const switchedOn = ier & ~state.ier;
    state.ier = ier;
    return (switchedOn & IER_RX_AVAILABLE) !== 0 && state.count > 0 && this.#raise(IER_RX_AVAILABLE, IIR_RX_AVAILABLE);
  }

  #loopBack(value: number): boolean {
    const { state } = this.#block;
    const input = state.count < LOOPBACK_BYTES;
    if (input) this.#push(value);
    const received = input && this.#raise(IER_RX_AVAILABLE, IIR_RX_AVAILABLE);
    return this.#raise(IER_TX_EMPTY, IIR_TX_EMPTY) || received;
  }

  /** Records a cause of interrupt. @returns whether the line is to be pulsed */
  #raise(enable: number, cause: number): boolean {
    const { state } = this.#block;
    if ((state.ier & enable) === 0) return false;
    state.iir = (state.iir & ~IIR_NONE) | cause;
    return true;
  }

  #push(value: number): void {
    const { state } = this.#block;
    state.queue[(state.head + state.count) % QUEUE_BYTES] = value;
    state.count++;
  }

  /** The oldest input byte, 0 when there is none; takes back its cause of interrupt. */
  #pop(): number {
    const { state } = this.#block;
    const causes = state.iir & ~IIR_RX_AVAILABLE;
    state.iir = causes === 0 ? IIR_NONE : causes;
    if (state.count === 0) return 0;
    const value = state.queue[state.head] ?? 0;
    state.head = (state.head + 1) % QUEUE_BYTES;
    state.count--;
    return value;
  }
}
