import type { FuzzTarget } from "../engine/target.ts";

/** A number that nobody guesses at once, but byte by byte. */
export const target: FuzzTarget = {
  what: "a target that throws",
  maxBytes: 64,
  open: () => (input) => {
    if (input.u8() === 102) {
      if (input.u8() === 117) {
        if (input.u8() === 122) throw new RangeError(`a mistake with ${input.u8()}`);
      }
    }
  },
};
