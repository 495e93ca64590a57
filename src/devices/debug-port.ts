import { monotonicNs } from "../host/clock.ts";
import type { BusAccess, BusDevice } from "./bus.ts";

/** Who uses which codes, by the code's upper three bits. */
const FIRMWARE = "firmware";
const CUSTOM = "custom";
const CLASSES = [FIRMWARE, "bootloader", "kernel", "userspace", CUSTOM, CUSTOM, CUSTOM, CUSTOM];

/** Port 0x80, where boot code reports its progress: each code is logged with its age. No state. */
export class DebugPort implements BusDevice {
  readonly #startNs: number;
  readonly #log: (message: string) => void;
  readonly #clock: () => number;

  /**
   * @param startNs when the machine was created, in nanoseconds of the monotonic clock
   * @param log takes a line for the log
   */
  constructor(startNs: number, log: (message: string) => void, clock = monotonicNs) {
    this.#startNs = startNs;
    this.#log = log;
    this.#clock = clock;
  }

  read(): void {}

  write(access: BusAccess): void {
    const code = access.lo & 0xff;
    const seconds = (this.#clock() - this.#startNs) / 1e9;
    const hex = code.toString(16).padStart(2, "0");
    this.#log(`debug port: code 0x${hex} (${CLASSES[code >> 5] ?? CUSTOM}) after ${seconds.toFixed(6)} s`);
  }
}
