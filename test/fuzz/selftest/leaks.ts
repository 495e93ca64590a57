import { openSync } from "node:fs";
import type { FuzzTarget } from "../engine/target.ts";

export const target: FuzzTarget = {
  what: "a target that leaks descriptors",
  maxBytes: 64,
  open: () => (input) => {
    if (input.bytes[0] === 7) openSync("/dev/null", "r");
  },
};
