import { libc } from "../../../src/host/libc.ts";

/** What was mapped since recording began, while it goes on. */
let recorded: Map<number, number> | undefined;
const { mmap, munmap } = libc;
Object.assign(libc, {
  mmap(...request: Parameters<typeof mmap>) {
    const address = mmap(...request);
    if (request[0] === 0) recorded?.set(address, Number(request[1]));
    return address;
  },
});

/**
 * Makes parts that live as long as a thread and never give back what they map.
 * @returns them, and what gives it back, or a million runs would be out of mappings
 */
export function recordMappings<T>(make: () => T): { readonly made: T; readonly unmap: () => void } {
  const mappings = new Map<number, number>();
  recorded = mappings;
  try {
    const made = make();
    return {
      made,
      unmap: () => {
        for (const [address, size] of mappings) munmap(address, size);
      },
    };
  } finally {
    recorded = undefined;
  }
}
