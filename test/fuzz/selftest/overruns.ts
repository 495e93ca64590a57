import { libc } from "../../../src/host/libc.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { mapGuarded } from "../support/guarded-memory.ts";

export const target: FuzzTarget = {
  what: "a target that writes one byte too many",
  maxBytes: 64,
  open: () => {
    const memory = mapGuarded(4096);
    return (input) => {
      const at = input.bytes[0] === 7 ? 1 : 0;
      libc.memmove(memory + 4095 + at, memory, 1);
    };
  },
};
