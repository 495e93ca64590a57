import { libc } from "./libc.ts";
import { scratch } from "./scratch.ts";
import { Sys } from "./syscall-numbers.ts";

/** struct sched_attr, as far as every kernel has it (sched_setattr(2)): offsets and size in bytes. */
const attribute = { policy: 4, flags: 8, nice: 16, runtime: 24 } as const;
const ATTRIBUTES_BYTES = 48;
const SCHED_OTHER = 0;
/** Threads that the calling one starts have the slice of any other. */
const SCHED_FLAG_RESET_ON_FORK = 1n;
/** The shortest that the scheduler takes. */
const SLICE_NS = 100_000n;

/**
 * Has the calling thread run soon after it is woken while others are busy, for being content with little time at once: the
 * scheduler picks whose slice ends first. It gets no more time than others altogether. For threads that answer somebody.
 *
 * A hint (Linux 6.12): without it answers come later. A thread whose scheduling somebody has chosen is left alone, as is one with
 * a negative nice value, which its children would lose.
 */
export function shortenTimeSlice(): void {
  const { view, address, u8 } = scratch();
  u8.fill(0, 0, ATTRIBUTES_BYTES);
  if (libc.syscall(Sys.sched_getattr, 0, address, ATTRIBUTES_BYTES, 0, 0, 0) < 0) return;
  if (view.getUint32(attribute.policy, true) !== SCHED_OTHER || view.getInt32(attribute.nice, true) < 0) return;
  view.setBigUint64(attribute.flags, SCHED_FLAG_RESET_ON_FORK, true);
  view.setBigUint64(attribute.runtime, SLICE_NS, true);
  libc.syscall(Sys.sched_setattr, 0, address, 0, 0, 0, 0);
}
