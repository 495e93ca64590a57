import type { FuzzTarget } from "../engine/target.ts";

export const target: FuzzTarget = {
  what: "a target that never ends",
  maxBytes: 64,
  open: () => (input) => {
    while (input.bytes[0] === 7);
  },
};
