import { libc } from "./libc.ts";
import { mapForThread } from "./mmap.ts";

const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;
const timespec = mapForThread(16);

/** Nanoseconds of CLOCK_MONOTONIC: one clock for all threads of the host. Exact to 2^53 ns (104 days) of host up-time. */
export function monotonicNs(): number {
  libc.clock_gettime(CLOCK_MONOTONIC, timespec.address);
  const { view } = timespec;
  return (view.getUint32(0, true) + view.getUint32(4, true) * 0x1_0000_0000) * 1e9 + view.getUint32(8, true);
}

/** Seconds since 1970-01-01 UTC, with their fraction: exact to a microsecond. */
export function realtimeSeconds(): number {
  libc.clock_gettime(CLOCK_REALTIME, timespec.address);
  const { view } = timespec;
  return (
    view.getUint32(0, true) + view.getUint32(4, true) * 0x1_0000_0000 + Math.floor(view.getUint32(8, true) / 1e3) / 1e6
  );
}

/** Nanoseconds since 1970-01-01 UTC. Not for hot paths. */
export function realtimeNs(): bigint {
  libc.clock_gettime(CLOCK_REALTIME, timespec.address);
  return timespec.view.getBigInt64(0, true) * 1_000_000_000n + timespec.view.getBigInt64(8, true);
}
