import type { BusAccess, BusDevice } from "./bus.ts";
import type { MachineRequests } from "./lines.ts";

/** The value of the FADT's RESET_VALUE field. */
const RESET = 0x01;
/** Sleep control register (ACPI 6.5, table 4.23): SLP_EN with the S5 sleep type of the DSDT, 5. */
const POWER_OFF = (5 << 2) | (1 << 5);

/** The one byte at port 0x600 that is reset register, sleep control register and sleep status register. No state. */
export class AcpiPower implements BusDevice {
  readonly #machine: MachineRequests;

  constructor(machine: MachineRequests) {
    this.#machine = machine;
  }

  read(access: BusAccess): void {
    access.lo = 0;
  }

  write(access: BusAccess): void {
    if (access.size !== 1 || access.offset !== 0) return;
    if (access.lo === RESET) this.#machine.reset();
    else if (access.lo === POWER_OFF) this.#machine.powerOff();
  }
}
