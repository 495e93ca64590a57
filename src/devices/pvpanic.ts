import type { BlockRef } from "../threads/block-ref.ts";
import type { BusAccess } from "./bus.ts";
import type { NoticeListener, PanicEvent } from "./notices.ts";
import type { BarMover } from "./pci/bar.ts";
import { ConfigLayout } from "./pci/config-layout.ts";
import { PlainFunction } from "./pci/plain-function.ts";

const VENDOR_REDHAT = 0x1b36;
const DEVICE_PVPANIC = 0x0011;
const CLASS_SYSTEM = 0x08;
const SUBCLASS_OTHER = 0x80;
/** I/O and memory decoding and SERR# are on: what firmware and guests of this platform are used to. */
const COMMAND_AT_POWER_ON = 0x0103;

/** Bytes of BAR 0: the register, and as many more as the smallest BAR has. */
export const PVPANIC_BAR_BYTES = 16;

/** The events that the register can take, which it also reads as (QEMU, docs/specs/pvpanic.rst). */
const PANICKED = 1;
const CRASH_LOADED = 2;

/** A guest that goes on writing is reported this often, in milliseconds, by each vCPU. */
const REPORT_EVERY_MS = 100;

/** A pvpanic device as plain data. */
export interface PvpanicWiring {
  readonly id: string;
  /** `Pvpanic.blockSize` bytes. */
  readonly block: BlockRef;
  /** BAR 0 at power-on: 32-bit, `PVPANIC_BAR_BYTES`. */
  readonly bar0: number;
}

/** The device by which a guest says that its kernel has panicked: one register, that takes an event. */
export class Pvpanic extends PlainFunction {
  readonly #notify: NoticeListener;
  readonly #reported: Partial<Record<PanicEvent, number>> = {};

  constructor({ block, bar0 }: PvpanicWiring, host: { readonly mover: BarMover; readonly notify: NoticeListener }) {
    super(layoutAt(bar0), block, host.mover);
    this.#notify = host.notify;
  }

  readBar(_bar: number, access: BusAccess): void {
    access.lo = access.offset === 0 ? PANICKED | CRASH_LOADED : 0;
    access.hi = 0;
  }

  /** The VM goes on: what follows from a panic is for whoever watches the events. */
  writeBar(_bar: number, access: BusAccess): void {
    if (access.offset !== 0) return;
    const event = eventOf(access.lo & 0xff);
    const now = performance.now();
    if (now - (this.#reported[event] ?? Number.NEGATIVE_INFINITY) < REPORT_EVERY_MS) return;
    this.#reported[event] = now;
    this.#notify({ kind: "panic", event });
  }
}

function layoutAt(bar0: number): ConfigLayout {
  const layout = new ConfigLayout({
    vendor: VENDOR_REDHAT,
    device: DEVICE_PVPANIC,
    subsystemVendor: 0,
    subsystem: 0,
    revision: 1,
    baseClass: CLASS_SYSTEM,
    subclass: SUBCLASS_OTHER,
    command: COMMAND_AT_POWER_ON,
  });
  layout.addBar({ index: 0, kind: "memory32", size: PVPANIC_BAR_BYTES, address: bar0 });
  return layout;
}

function eventOf(value: number): PanicEvent {
  if (value === PANICKED) return "panic";
  return value === CRASH_LOADED ? "crash_loaded" : "unknown_event";
}
