import type { BusAccess, BusDevice } from "./bus.ts";
import type { ByteSink } from "./byte-sink.ts";

/** What tells firmware that somebody listens. */
const PRESENT = 0xe9;

/** Port 0x402, where firmware writes its debug text a byte at a time. No state. */
export class FirmwareDebug implements BusDevice {
  readonly #output: ByteSink;

  constructor(output: ByteSink) {
    this.#output = output;
  }

  read(access: BusAccess): void {
    if (access.size === 1) access.lo = PRESENT;
  }

  write(access: BusAccess): void {
    if (access.size === 1) this.#output.write(access.lo);
  }
}
