import { signalEventFd } from "../../host/eventfd.ts";
import { atomic32, type StructType, struct, u32s, type View } from "../../host/struct.ts";
import type { BusAccess } from "../bus.ts";
import type { Irqfd, MsiRouter } from "../lines.ts";
import { msiAddressHi, msiAddressLo } from "../msi.ts";

/** PCI capability id (PCI 3.0, 6.8.2). */
export const MSIX_CAPABILITY = 0x11;
/** The most vectors a table can have. */
export const MAX_MSIX_VECTORS = 2048;

/** Message control (6.8.2.3). */
const CONTROL_ENABLE = 0x8000;
const CONTROL_FUNCTION_MASK = 0x4000;
/** Vector control (6.8.2.9). */
const VECTOR_MASKED = 1;

/** An entry of the table, in dwords (6.8.2.6). */
const ENTRY_DWORDS = 4;
const ADDRESS_LO = 0;
const ADDRESS_HI = 1;
const DATA = 2;
const VECTOR_CONTROL = 3;

/** Where messages reach local APICs (Intel SDM volume 3, 11.11.1); KVM takes no low byte in the upper half. */
const MSI_WINDOW = 0xfee;
const MSI_HI_RESERVED = 0xff;

interface MsixFields {
  readonly control: typeof atomic32;
  readonly table: ReturnType<typeof u32s>;
  readonly pending: ReturnType<typeof u32s>;
}
/** The shared state of a function's MSI-X. */
export type MsixState = View<MsixFields>;

/** Describes the state of an MSI-X table with `vectors` entries. */
export const msixState = (vectors: number): StructType<MsixFields> =>
  struct("MSI-X state", {
    /** Enable and function mask, as in message control. */
    control: atomic32,
    table: u32s(ENTRY_DWORDS * vectors),
    pending: u32s(2 * Math.ceil(vectors / 64)),
  });

/** Bytes of a pending bit array: whole quadwords (6.8.2.10). */
export const pendingBytes = (vectors: number): number => 8 * Math.ceil(vectors / 64);
/** Bytes of a table. */
export const tableBytes = (vectors: number): number => 4 * ENTRY_DWORDS * vectors;

/**
 * The message-signalled interrupts of a function as any thread raises them. Works without a lock: a message that is masked
 * leaves its pending bit, and whoever finds the bit set with the mask gone takes it back and sends. Since each side writes
 * first and then looks at what the other wrote, one of them sees both.
 */
export class MsixVectors {
  readonly count: number;
  protected readonly state: MsixState;
  protected readonly irqfds: readonly Irqfd[];

  /** @param irqfds one a vector */
  constructor(state: MsixState, irqfds: readonly Irqfd[]) {
    if (irqfds.length * ENTRY_DWORDS !== state.table.length)
      throw new RangeError(`${irqfds.length} irqfds for an MSI-X table of ${state.table.length / ENTRY_DWORDS}`);
    this.count = irqfds.length;
    this.state = state;
    this.irqfds = irqfds;
  }

  /** Raises a vector, now or when it is unmasked. @returns false when there is no such vector */
  raise(vector: number): boolean {
    if (vector >= this.count) return false;
    if (this.isOpen(vector)) this.send(vector);
    else {
      Atomics.or(this.state.pending, vector >>> 5, 1 << (vector & 31));
      if (this.isOpen(vector)) this.sendPending(vector);
    }
    return true;
  }

  /** Whether a message of this vector goes out at once. */
  protected isOpen(vector: number): boolean {
    const control = Atomics.load(this.state.control, 0);
    if ((control & (CONTROL_ENABLE | CONTROL_FUNCTION_MASK)) !== CONTROL_ENABLE) return false;
    return (Atomics.load(this.state.table, vector * ENTRY_DWORDS + VECTOR_CONTROL) & VECTOR_MASKED) === 0;
  }

  /** Sends a vector that is pending; of several threads that try, one does. */
  protected sendPending(vector: number): void {
    const bit = 1 << (vector & 31);
    if ((Atomics.and(this.state.pending, vector >>> 5, ~bit) & bit) !== 0) this.send(vector);
  }

  protected send(vector: number): void {
    const irqfd = this.irqfds[vector];
    if (irqfd !== undefined) signalEventFd(irqfd.eventFd);
  }
}

/**
 * The registers of MSI-X: control, table and pending bits. Methods need the function's lock, except `raise`. Routes are in
 * force before a mask is lifted, and stay when it is set, so that no message is lost on its way.
 */
export class Msix extends MsixVectors {
  readonly #router: MsiRouter;

  constructor(state: MsixState, irqfds: readonly Irqfd[], router: MsiRouter) {
    super(state, irqfds);
    this.#router = router;
  }

  /** Off, every vector masked, nothing pending. */
  reset(): void {
    const { control, table, pending } = this.state;
    Atomics.store(control, 0, 0);
    table.fill(0);
    for (let vector = 0; vector < this.count; vector++) table[vector * ENTRY_DWORDS + VECTOR_CONTROL] = VECTOR_MASKED;
    pending.fill(0);
  }

  /**
   * Judges a state that came from outside.
   * @throws RangeError when message control has bits that it cannot have
   */
  validate(): void {
    const control = Atomics.load(this.state.control, 0);
    if ((control & ~(CONTROL_ENABLE | CONTROL_FUNCTION_MASK)) !== 0)
      throw new RangeError(`saved MSI-X control 0x${control.toString(16)}`);
  }

  /** Makes the routes of a state that was put back. Nothing is raised: what was pending is sent when it is unmasked. */
  connect(): void {
    for (let vector = 0; vector < this.count; vector++) if (this.isOpen(vector)) this.#route(vector);
  }

  /** Takes all routes away, as for a function that is removed. */
  disconnect(): void {
    for (const { gsi } of this.irqfds) this.#router.unroute(gsi);
  }

  /** Message control: enable, function mask, and the table's size less 1. */
  get messageControl(): number {
    return Atomics.load(this.state.control, 0) | (this.count - 1);
  }

  set messageControl(value: number) {
    const { control } = this.state;
    const before = Atomics.load(control, 0);
    const after = value & (CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
    if (after === before) return;
    const opens = after === CONTROL_ENABLE;
    if (opens) this.#forEachUnmasked((vector) => this.#route(vector));
    Atomics.store(control, 0, after);
    if (opens) this.#forEachUnmasked((vector) => this.sendPending(vector));
  }

  /** Reads the table: 4 or 8 bytes, aligned, all ones otherwise. `offset` is from its start. */
  readTable(offset: number, access: BusAccess): void {
    readDwords(this.state.table, offset, access);
  }

  /** Reads the pending bits likewise. */
  readPending(offset: number, access: BusAccess): void {
    readDwords(this.state.pending, offset, access);
  }

  /** Writes the table: 4 or 8 bytes, aligned, ignored otherwise. */
  writeTable(offset: number, access: BusAccess): void {
    const { size, lo, hi } = access;
    if ((size !== 4 && size !== 8) || offset % size !== 0) return;
    const at = offset / 4;
    const vector = Math.floor(at / ENTRY_DWORDS);
    if (vector >= this.count) return;
    const last = at % ENTRY_DWORDS;
    if (size === 4 && last === VECTOR_CONTROL) this.#writeVectorControl(vector, lo);
    else {
      this.state.table[at] = lo;
      if (size === 8 && last + 1 === VECTOR_CONTROL) this.#writeVectorControl(vector, hi);
      else {
        if (size === 8) this.state.table[at + 1] = hi;
        if (this.isOpen(vector)) this.#route(vector);
      }
    }
  }

  #writeVectorControl(vector: number, value: number): void {
    const at = vector * ENTRY_DWORDS + VECTOR_CONTROL;
    const enabled = (Atomics.load(this.state.control, 0) & CONTROL_ENABLE) !== 0;
    const unmasked = (value & VECTOR_MASKED) === 0;
    if (enabled && unmasked) this.#route(vector);
    Atomics.store(this.state.table, at, value >>> 0);
    if (unmasked && this.isOpen(vector)) this.sendPending(vector);
  }

  #forEachUnmasked(action: (vector: number) => void): void {
    for (let vector = 0; vector < this.count; vector++)
      if (((this.state.table[vector * ENTRY_DWORDS + VECTOR_CONTROL] ?? 0) & VECTOR_MASKED) === 0) action(vector);
  }

  /** Routes a vector as its entry says. A message to anywhere but the local APICs is a message to nobody. */
  #route(vector: number): void {
    const { table } = this.state;
    const irqfd = this.irqfds[vector];
    if (irqfd === undefined) return;
    const at = vector * ENTRY_DWORDS;
    const lo = table[at + ADDRESS_LO] ?? 0;
    const hi = table[at + ADDRESS_HI] ?? 0;
    if (lo >>> 20 !== MSI_WINDOW || (hi & MSI_HI_RESERVED) !== 0) this.#router.unroute(irqfd.gsi);
    else this.#router.route(irqfd.gsi, msiAddressLo(lo, hi), msiAddressHi(lo, hi), table[at + DATA] ?? 0);
  }
}

function readDwords(dwords: Uint32Array, offset: number, access: BusAccess): void {
  const { size } = access;
  if ((size !== 4 && size !== 8) || offset % size !== 0) return;
  const lo = dwords[offset / 4];
  if (lo === undefined) return;
  access.lo = lo;
  if (size === 8) access.hi = dwords[offset / 4 + 1] ?? 0;
}
