import { Serial } from "../../../src/devices/serial.ts";
import { block, CountingLine } from "../../unit/devices/access.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { playRegisters } from "../support/registers.ts";

export const target: FuzzTarget = {
  what: "the serial port: registers and input",
  maxBytes: 512,
  open: () => {
    let outputs = 0;
    const serial = new Serial(block(Serial.blockSize), { write: () => outputs++ }, new CountingLine(), () => undefined);
    const input4k = new Uint8Array(5000);
    return (input) => {
      playRegisters(input, [{ device: serial, length: 8, widest: 4 }], [serial], () => {
        const bytes = input4k.subarray(0, input.below(5000));
        const taken = serial.receive(bytes);
        if (taken < 0 || taken > bytes.length) throw new Error(`takes ${taken} of ${bytes.length} bytes`);
      });
    };
  },
};
