import { Cmos } from "../../../src/devices/cmos.ts";
import { DebugConsole } from "../../../src/devices/debug-console.ts";
import { DebugPort } from "../../../src/devices/debug-port.ts";
import { FirmwareDebug } from "../../../src/devices/firmware-debug.ts";
import { I8042 } from "../../../src/devices/i8042.ts";
import { block, RecordedRequests } from "../../unit/devices/access.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { playRegisters } from "../support/registers.ts";

const GIB = 2 ** 30;
/** Times around the ends of what the clock can say, in seconds since 1970. */
const TIMES: readonly [number, ...number[]] = [0, 951_782_399.9999, 4_102_444_799, 253_402_300_799];

export const target: FuzzTarget = {
  what: "ports of old: CMOS, i8042, debug ports",
  maxBytes: 512,
  open: () => {
    let now = 0;
    const requests = new RecordedRequests();
    const sink = { write: (byte: number): void => void (byte >= 0 && byte < 256 ? undefined : fail(byte)) };
    const cmos = new Cmos(block(Cmos.blockSize), { below4g: 3 * GIB, above4g: GIB }, requests, () => now);
    const port = new DebugPort(
      0,
      () => undefined,
      () => 1e9,
    );
    const registers = [
      { device: cmos, length: 2, widest: 4 },
      { device: cmos, length: 2, widest: 4 },
      { device: new I8042(requests), length: 4, widest: 4 },
      { device: port, length: 1, widest: 4 },
      { device: new FirmwareDebug(sink), length: 1, widest: 4 },
      { device: new DebugConsole(sink), length: 1, widest: 4 },
    ] as const;
    return (input) => {
      now = 0;
      requests.asked.length = 0;
      playRegisters(input, registers, [cmos], () => {
        now = input.pick(TIMES) + input.u16();
      });
    };
  },
};

function fail(byte: number): never {
  throw new Error(`${byte} is no byte`);
}
