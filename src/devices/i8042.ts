import type { BusAccess, BusDevice } from "./bus.ts";
import type { MachineRequests } from "./lines.ts";

/** Offsets from port 0x61. */
const SYSTEM_CONTROL_B = 0;
const STATUS_COMMAND = 3;

/** Timer 2 output high: loops that calibrate against the PIT, which is not there, end at once. */
const TIMER_2_OUTPUT = 0x20;
/** Pulse the output port's bit 0, the processor's reset line (8042 command F0h-FFh). */
const PULSE_RESET = 0xfe;

/** As much of a keyboard controller, ports 0x61 to 0x64, as it takes to reset the machine. No state. */
export class I8042 implements BusDevice {
  readonly #machine: MachineRequests;

  constructor(machine: MachineRequests) {
    this.#machine = machine;
  }

  read(access: BusAccess): void {
    if (access.size !== 1) return;
    if (access.offset === SYSTEM_CONTROL_B) access.lo = TIMER_2_OUTPUT;
    else if (access.offset === STATUS_COMMAND) access.lo = 0;
  }

  write(access: BusAccess): void {
    if (access.size === 1 && access.offset === STATUS_COMMAND && access.lo === PULSE_RESET) this.#machine.reset();
  }
}
