import type { BusAccess, BusDevice } from "./bus.ts";
import type { ByteSink } from "./byte-sink.ts";

/** The debug console (port 0xe9 by default): a sink of bytes, as many in one write as the access is wide. No state. */
export class DebugConsole implements BusDevice {
  readonly #output: ByteSink;

  constructor(output: ByteSink) {
    this.#output = output;
  }

  read(): void {}

  write(access: BusAccess): void {
    for (let i = 0; i < access.size; i++)
      this.#output.write(((i < 4 ? access.lo >>> (i * 8) : access.hi >>> ((i - 4) * 8)) & 0xff) >>> 0);
  }
}
