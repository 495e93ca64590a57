import { libc } from "../../../src/host/libc.ts";

/** Where there is memory that was mapped and not given back. What takes the place of other mappings does not count. */
const mapped = new Set<number>();
const { mmap, munmap } = libc;
Object.assign(libc, {
  mmap(...request: Parameters<typeof mmap>) {
    const address = mmap(...request);
    if (request[0] === 0 && address > 0) mapped.add(address);
    return address;
  },
  munmap(...request: Parameters<typeof munmap>) {
    mapped.delete(Number(request[0]));
    return munmap(...request);
  },
});

/** How many mappings this thread has, since this was loaded. */
export const mappings = (): number => mapped.size;
