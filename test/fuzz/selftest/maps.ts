import { mapAnonymous } from "../../../src/host/mmap.ts";
import type { FuzzTarget } from "../engine/target.ts";

export const target: FuzzTarget = {
  what: "a target that leaks memory that it has mapped",
  maxBytes: 64,
  open: () => (input) => {
    if (input.bytes[0] === 7) mapAnonymous(4096);
  },
};
