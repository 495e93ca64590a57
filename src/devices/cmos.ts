import { realtimeSeconds } from "../host/clock.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { bytes, struct, u8 } from "../host/struct.ts";
import { StateBlock, type StateBlockOf } from "../threads/state-block.ts";
import type { BusAccess, BusDevice } from "./bus.ts";
import type { StatefulDevice } from "./device.ts";
import type { MachineRequests } from "./lines.ts";

/** The two ports. */
const INDEX = 0;
const DATA = 1;

/** Registers of the clock (MC146818A) and the bytes where firmware looks for the memory size. */
const SECONDS = 0x00;
const MINUTES = 0x02;
const HOURS = 0x04;
const WEEKDAY = 0x06;
const DAY = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const STATUS_A = 0x0a;
const STATUS_D = 0x0d;
const CENTURY = 0x32;
const MEMORY_ABOVE_16_MIB = 0x34;
const MEMORY_ABOVE_4_GIB = 0x5b;

const RAM_BYTES = 128;
/** Divider for a 32768 Hz time base. */
const STATUS_A_DIVIDER = 0x20;
const STATUS_A_UPDATING = 0x80;
const STATUS_D_VALID = 0x80;
/** An update takes 8 periods of the time base, at the end of each second. */
const UPDATE_SECONDS = 8 / 32768;

/** Shutdown status with NMI off: writing 0 here is how a processor is reset the AT way. */
const SHUTDOWN_STATUS_NMI_OFF = 0x8f;

const MIB = 1024 * 1024;
const UNIT = 64 * 1024;

/** What the firmware is told about RAM, in bytes. */
export interface CmosMemory {
  /** RAM below the 32-bit hole. */
  readonly below4g: number;
  /** RAM above 4 GiB. */
  readonly above4g: number;
}

const cmosState = struct("CMOS state", { index: u8, ram: bytes(RAM_BYTES) });

const bcd = (value: number): number => (Math.floor(value / 10) << 4) | (value % 10);

/** Real-time clock and its battery-backed RAM at ports 0x70 and 0x71: host time in UTC, BCD, 24 hours; no interrupts. */
export class Cmos implements BusDevice, StatefulDevice {
  /** Bytes of shared memory. */
  static readonly blockSize = StateBlock.sizeOf(cmosState);
  readonly #block: StateBlockOf<typeof cmosState>;
  readonly #memory: CmosMemory;
  readonly #machine: MachineRequests;
  readonly #clock: () => number;

  /**
   * @param block `Cmos.blockSize` bytes of the shared arena
   * @param clock seconds since 1970 UTC, with their fraction
   */
  constructor(block: MemoryBlock, memory: CmosMemory, machine: MachineRequests, clock = realtimeSeconds) {
    this.#block = new StateBlock(cmosState, block);
    this.#memory = memory;
    this.#machine = machine;
    this.#clock = clock;
  }

  reset(): void {
    const { state } = this.#block;
    state.index = 0;
    state.ram.fill(0);
    const low = Math.min(Math.max(0, Math.floor((this.#memory.below4g - 16 * MIB) / UNIT)), 0xffff);
    const high = Math.min(Math.floor(this.#memory.above4g / UNIT), 0xff_ffff);
    state.ram.set([low & 0xff, low >> 8], MEMORY_ABOVE_16_MIB);
    state.ram.set([high & 0xff, (high >> 8) & 0xff, high >> 16], MEMORY_ABOVE_4_GIB);
  }

  save(): Uint8Array {
    return this.#block.save();
  }

  restore(saved: Uint8Array): void {
    this.#block.restore(saved);
  }

  read(access: BusAccess): void {
    if (access.size !== 1) return;
    const { lock, state } = this.#block;
    lock.acquire();
    const { index } = state;
    const stored = state.ram[index % RAM_BYTES] ?? 0;
    lock.release();
    if (access.offset === INDEX) access.lo = index;
    else if (access.offset === DATA) access.lo = this.#clockRegister(index) ?? stored;
  }

  write(access: BusAccess): void {
    if (access.size !== 1) return;
    const { lock, state } = this.#block;
    lock.acquire();
    const { index } = state;
    if (access.offset === INDEX) state.index = access.lo;
    else if (access.offset === DATA) state.ram[index % RAM_BYTES] = access.lo;
    lock.release();
    if (access.offset === DATA && index === SHUTDOWN_STATUS_NMI_OFF && access.lo === 0) this.#machine.reset();
  }

  /** The clock's registers, which hide the RAM behind them; undefined for RAM. */
  #clockRegister(index: number): number | undefined {
    if (index === STATUS_D) return STATUS_D_VALID;
    if (index > STATUS_A && index !== CENTURY) return undefined;
    const now = this.#clock();
    const time = new Date(Math.floor(now) * 1000);
    switch (index) {
      case SECONDS:
        return bcd(time.getUTCSeconds());
      case MINUTES:
        return bcd(time.getUTCMinutes());
      case HOURS:
        return bcd(time.getUTCHours());
      case WEEKDAY:
        return time.getUTCDay() + 1;
      case DAY:
        return bcd(time.getUTCDate());
      case MONTH:
        return bcd(time.getUTCMonth() + 1);
      case YEAR:
        return bcd(time.getUTCFullYear() % 100);
      case CENTURY:
        return bcd(Math.floor(time.getUTCFullYear() / 100));
      case STATUS_A:
        return STATUS_A_DIVIDER | (now % 1 >= 1 - UPDATE_SECONDS ? STATUS_A_UPDATING : 0);
      default:
        return undefined;
    }
  }
}
