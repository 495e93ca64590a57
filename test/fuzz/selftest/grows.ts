import type { FuzzTarget } from "../engine/target.ts";

export const target: FuzzTarget = {
  what: "a target that takes all memory",
  maxBytes: 64,
  open: () => {
    const kept: Uint8Array[] = [];
    return (input) => {
      if (input.bytes[0] === 7) kept.push(new Uint8Array(64 << 20).fill(1));
    };
  },
};
