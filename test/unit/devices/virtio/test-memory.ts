import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { gpa, hva } from "../../../../src/memory/address.ts";
import { GuestMemory } from "../../../../src/memory/guest-memory.ts";

/** Guest RAM for tests: runs of zeroed bytes at the given guest addresses, both multiples of 4096. */
export function testMemory(...runs: readonly { readonly gpa: number; readonly size: number }[]): GuestMemory {
  return new GuestMemory(
    runs.map((run) => ({ gpa: gpa(run.gpa), size: run.size, hva: hva(mapAnonymous(run.size).address) })),
  );
}
