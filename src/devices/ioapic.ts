import { signalEventFd } from "../host/eventfd.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { struct, u8, u32, u32s } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";
import type { InterruptLine, Irqfd, MsiRouter } from "./lines.ts";
import { msiAddressHi, msiAddressLo } from "./msi.ts";

/** Pins, hence redirection entries. */
export const IOAPIC_PINS = 24;

/** Offsets of the two registers (82093AA, table 1). */
const IOREGSEL = 0x00;
const IOWIN = 0x10;

/** Registers behind the window (82093AA, 3.2). */
const ID = 0x00;
const VERSION = 0x01;
const ARBITRATION = 0x02;
const REDIRECTION = 0x10;

const ID_BITS = 0x0f00_0000;
/** Version 0x11, highest redirection entry 23. */
const VERSION_VALUE = ((IOAPIC_PINS - 1) << 16) | 0x11;

/** Low half of a redirection entry (82093AA, 3.2.4). */
const VECTOR = 0xff;
const DELIVERY_MODE_SHIFT = 8;
const DELIVERY_MODE = 0x7;
const DESTINATION_MODE = 1 << 11;
const DELIVERY_STATUS = 1 << 12;
const REMOTE_IRR = 1 << 14;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;
const READ_ONLY = DELIVERY_STATUS | REMOTE_IRR;
/** High half: destination in the upper byte. */
const DESTINATION_SHIFT = 24;

/** MSI address and data (Intel SDM volume 3, 11.11). */
const MSI_BASE = 0xfee0_0000;
const MSI_DESTINATION_SHIFT = 12;
const MSI_REDIRECTION_HINT = 1 << 3;
const MSI_LOGICAL = 1 << 2;

const ioapicState = struct("IOAPIC state", {
  select: u8,
  id: u32,
  /** Pins with an edge that came while they were masked, one bit each. */
  pending: u32,
  low: u32s(IOAPIC_PINS),
  high: u32s(IOAPIC_PINS),
});

/**
 * The I/O APIC (82093AA) of the split irqchip: its pins are message-signalled to the local APICs in the kernel. A pin's
 * route is set when the guest unmasks or rewrites its entry. It stays while the pin is masked, since what is masked is
 * held back here: an edge that was sent on before can then not be lost on its way.
 */
export class IoApic implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(ioapicState);
  readonly #block: StateBlockOf<typeof ioapicState>;
  readonly #pins: readonly Irqfd[];
  readonly #router: MsiRouter;

  /**
   * @param memory `IoApic.blockSize` bytes of the shared arena
   * @param pins what raises each pin, `IOAPIC_PINS` of them
   */
  constructor(memory: MemoryBlock, pins: readonly Irqfd[], router: MsiRouter) {
    if (pins.length !== IOAPIC_PINS) throw new RangeError(`IOAPIC wired with ${pins.length} pins of ${IOAPIC_PINS}`);
    this.#block = new StateBlock(ioapicState, memory);
    this.#pins = pins;
    this.#router = router;
  }

  /** The input of a pin, for use on this instance's thread. @throws RangeError where there is no such pin */
  line(pin: number): InterruptLine {
    if (!Number.isInteger(pin) || pin < 0 || pin >= IOAPIC_PINS) throw new RangeError(`IOAPIC has no pin ${pin}`);
    return { pulse: () => this.#edge(pin) };
  }

  /** A level-triggered interrupt with this vector ended. */
  endOfInterrupt(vector: number): void {
    const { lock, state } = this.#block;
    lock.acquire();
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const low = state.low[pin] ?? 0;
      if ((low & LEVEL) !== 0 && (low & VECTOR) === vector) state.low[pin] = low & ~REMOTE_IRR;
    }
    lock.release();
  }

  reset(): void {
    const { state } = this.#block;
    state.select = 0;
    state.id = 0;
    state.pending = 0;
    state.low.fill(MASKED);
    state.high.fill(0);
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
    const { lock, state } = this.#block;
    lock.acquire();
    try {
      for (let pin = 0; pin < IOAPIC_PINS; pin++) if (((state.low[pin] ?? MASKED) & MASKED) === 0) this.#connect(pin);
    } finally {
      lock.release();
    }
  }

  read(access: BusAccess): void {
    if (access.size !== 4) return;
    const { lock, state } = this.#block;
    lock.acquire();
    if (access.offset === IOREGSEL) access.lo = state.select;
    else if (access.offset === IOWIN) access.lo = this.#readRegister(state.select);
    lock.release();
  }

  write(access: BusAccess): void {
    if (access.size !== 4) return;
    const { lock, state } = this.#block;
    lock.acquire();
    try {
      if (access.offset === IOREGSEL) state.select = access.lo;
      else if (access.offset === IOWIN) this.#writeRegister(state.select, access.lo);
    } finally {
      lock.release();
    }
  }

  #readRegister(register: number): number {
    const { state } = this.#block;
    if (register === ID || register === ARBITRATION) return state.id;
    if (register === VERSION) return VERSION_VALUE;
    const pin = (register - REDIRECTION) >> 1;
    return ((register & 1) === 0 ? state.low[pin] : state.high[pin]) ?? 0;
  }

  #writeRegister(register: number, value: number): void {
    const { state } = this.#block;
    if (register === ID) state.id = value & ID_BITS;
    const pin = (register - REDIRECTION) >> 1;
    const low = state.low[pin];
    if (low === undefined) return;
    if ((register & 1) === 0) {
      // An edge-triggered entry has no remote IRR: switching to it and back is how software ends an interrupt here.
      const kept = low & READ_ONLY & ~((value & LEVEL) === 0 ? REMOTE_IRR : 0);
      state.low[pin] = (value & ~READ_ONLY) | kept;
    } else state.high[pin] = value;
    if (((state.low[pin] ?? MASKED) & MASKED) === 0) this.#connect(pin);
  }

  /** Routes an unmasked pin as its entry says and sends on the edge that waited for it. */
  #connect(pin: number): void {
    const { state } = this.#block;
    const low = state.low[pin] ?? 0;
    const irqfd = this.#pins[pin];
    if (irqfd === undefined) return;
    const destination = ((state.high[pin] ?? 0) >>> DESTINATION_SHIFT) << MSI_DESTINATION_SHIFT;
    const logical = (low & DESTINATION_MODE) !== 0 ? MSI_LOGICAL : 0;
    const address = (MSI_BASE | destination | MSI_REDIRECTION_HINT | logical) >>> 0;
    const delivery = ((low >> DELIVERY_MODE_SHIFT) & DELIVERY_MODE) << DELIVERY_MODE_SHIFT;
    const data = (low & (LEVEL | REMOTE_IRR | VECTOR)) | delivery;
    this.#router.route(irqfd.gsi, msiAddressLo(address, 0), msiAddressHi(address, 0), data);
    if ((state.pending & (1 << pin)) === 0) return;
    state.pending &= ~(1 << pin);
    this.#deliver(pin);
  }

  #edge(pin: number): void {
    const { lock, state } = this.#block;
    lock.acquire();
    try {
      if (((state.low[pin] ?? MASKED) & MASKED) !== 0) state.pending |= 1 << pin;
      else this.#deliver(pin);
    } finally {
      lock.release();
    }
  }

  #deliver(pin: number): void {
    const { state } = this.#block;
    const low = state.low[pin] ?? 0;
    if ((low & LEVEL) !== 0) state.low[pin] = low | REMOTE_IRR;
    const irqfd = this.#pins[pin];
    if (irqfd !== undefined) signalEventFd(irqfd.eventFd);
  }
}
